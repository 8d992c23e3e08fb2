#include "joinproxy/names.h"

static const struct proxy_name proxies[] = {
    {"brski-jp", NULL, NULL, false, false},     /* constrained-join-proxy -20 section 5.2 */
    {"rt", "brski.jp", "coaps", false, true},   /* -06 to -19 */
    {"rt", "brski-proxy", "coaps", true, true}, /* draft-vanderstok -01 section 7.3 */
};

static const struct registrar_name registrars[] = {
    {"brski.rjp", "jpy", MODE_STATELESS},       /* -18 on, section 5.1.1 */
    {"brski.rjp", "coaps+jpy", MODE_STATELESS}, /* until -17 */
    {"brski.rjp", "coaps", MODE_STATELESS},     /* -06 to -10 */
    {"brski", "coaps", MODE_STATEFUL},          /* section 5.1.2 */
    {"ace.est*", "coaps", MODE_STATEFUL},       /* a registrar with EST alone (JPD-4) */
};

size_t names_proxy_count(void)
{
    return sizeof proxies / sizeof proxies[0];
}

const struct proxy_name *names_proxy(size_t index)
{
    return &proxies[index];
}

size_t names_registrar_count(void)
{
    return sizeof registrars / sizeof registrars[0];
}

const struct registrar_name *names_registrar(size_t index)
{
    return &registrars[index];
}
