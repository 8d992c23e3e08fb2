/* A link of the test's own: interfaces near (fe80::1) and far (fe80::2), joined, in a new network namespace.
 */
#ifndef ESTUARY_TESTS_UNIT_VETH_LINK_H
#define ESTUARY_TESTS_UNIT_VETH_LINK_H

#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>

#define VETH_LINK_NEEDS                                                                                      \
    "no network namespace could be made: this test needs root, iproute2 and a whole machine or a "           \
    "privileged "                                                                                            \
    "container"

/* Moves this process into the namespace for good: call it in the last test of a program. False: not
 * permitted here, or no iproute2. Carrier and routes come up some time after the command that asks for them,
 * and it waits for them. */
static inline bool veth_link_make(void)
{
    static const char script[] =
        "set -e; ip link set lo up; ip link add name near type veth peer name far; "
        "for i in near far; do ip link set $i addrgenmode none; ip link set $i up; done; "
        "ip addr add fe80::1/64 dev near nodad; ip addr add fe80::2/64 dev far nodad; n=0; "
        "until [ $(ip -br link show type veth | grep -c ' UP ') = 2 ] && ip -6 route get fe80::9 oif near && "
        "ip -6 route get fe80::9 oif far; do n=$((n+1)); [ $n -lt 400 ]; sleep 0.05; done >/dev/null 2>&1";
    return unshare(CLONE_NEWNET) == 0 && system(script) == 0;
}

#endif
