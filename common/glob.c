#include "common/glob.h"

/* Each star first takes nothing, then one octet more whenever what follows it does not fit. Only the last
 * star need ever take more: whatever an earlier one could take besides, the last one can take as well. */
bool glob_matches(struct bytes pattern, struct bytes text)
{
    size_t at = 0, next = 0, taken = 0;
    const size_t none = pattern.len + 1;
    size_t star = none; /* the last one that was passed, and taken is how far it reaches */
    while (at < text.len) {
        if (next < pattern.len && pattern.at[next] == '*') {
            star = next++;
            taken = at;
        } else if (next < pattern.len && (pattern.at[next] == '?' || pattern.at[next] == text.at[at])) {
            next++;
            at++;
        } else if (star != none) {
            next = star + 1;
            at = ++taken;
        } else {
            return false;
        }
    }
    while (next < pattern.len && pattern.at[next] == '*')
        next++;
    return next == pattern.len;
}
