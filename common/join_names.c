#include "common/join_names.h"

static const struct join_proxy_name proxies[] = {
    {"brski-jp", NULL, NULL, false, false},     /* constrained-join-proxy -20 section 5.2 */
    {"rt", "brski.jp", "coaps", false, true},   /* -06 to -19 */
    {"rt", "brski-proxy", "coaps", true, true}, /* draft-vanderstok -01 section 7.3 */
};

static const struct join_registrar_name registrars[] = {
    {"brski.rjp", "jpy", true},       /* -18 on, section 5.1.1 */
    {"brski.rjp", "coaps+jpy", true}, /* until -17 */
    {"brski.rjp", "coaps", true},     /* -06 to -10 */
    {"brski", "coaps", false},        /* section 5.1.2 */
    {"ace.est*", "coaps", false},     /* a registrar with EST alone (JPD-4) */
};

size_t join_names_proxy_count(void)
{
    return sizeof proxies / sizeof proxies[0];
}

const struct join_proxy_name *join_names_proxy(size_t index)
{
    return &proxies[index];
}

size_t join_names_registrar_count(void)
{
    return sizeof registrars / sizeof registrars[0];
}

const struct join_registrar_name *join_names_registrar(size_t index)
{
    return &registrars[index];
}
