/* A UDP socket that reads in batches and answers from the address that was asked. */
#ifndef ESTUARY_COMMON_UDP_SOCKET_H
#define ESTUARY_COMMON_UDP_SOCKET_H

#include "common/bytes.h"
#include "common/endpoint.h"

#define UDP_BATCH_MAX    32   /* datagrams one udp_socket_receive may hand out */
#define UDP_DATAGRAM_MAX 2048 /* octets; a longer datagram is truncated and therefore dropped */

/* What a socket's receive buffer is to hold: a burst, as when all devices come back after a power failure.
 * The kernel grants it where net.core.rmem_max does. */
#define UDP_RECEIVE_OCTETS (2 * 1024 * 1024)

struct udp_datagram {
    struct endpoint peer;
    struct endpoint local; /* the address that was asked (IP_PKTINFO), with the socket's port */
    unsigned interface;    /* index it arrived on; 0 unknown */
    bool multicast;        /* local is a group address */
    struct bytes payload;  /* borrowed until the next udp_socket_receive on the same batch */
};

struct udp_batch; /* the buffers of one reader; several sockets of one thread may share it */

struct udp_batch *udp_batch_create(void); /* NULL: no memory */
void udp_batch_free(struct udp_batch *batch);

enum udp_sharing {
    UDP_EXCLUSIVE,  /* a second process or socket on the port fails */
    UDP_REUSEPORT,  /* one of several sockets of this process; the kernel spreads the flows */
    UDP_TRANSPARENT /* exclusive, and the address may be somebody else's whose packets are routed here
                       (CAP_NET_RAW) */
};

/* Opens a non-blocking, close-on-exec socket bound to local; an IPv6 wildcard also takes IPv4. Asks for
 * packet information and for a receive buffer of UDP_RECEIVE_OCTETS. STATUS_SYSTEM with errno. */
enum status udp_socket_open(const struct endpoint *local, enum udp_sharing sharing, int *fd);

/* The address the socket is really bound to (a port of 0 resolved). */
enum status udp_socket_local(int fd, struct endpoint *local);

/* Joins a group on the interface with this name. STATUS_SYSTEM with errno. */
enum status udp_socket_join(int fd, const char *group, const char *interface);

/* The unicast address from which the kernel would answer peer: what a reply to a group is to come from.
 * Sends nothing. STATUS_SYSTEM with errno: no route. */
enum status udp_source_for(const struct endpoint *peer, struct endpoint *source);

/* Reads what is there, at most UDP_BATCH_MAX datagrams, and hands each to take. Returns how many. */
size_t udp_socket_receive(int fd, struct udp_batch *batch,
                          void (*take)(void *user, const struct udp_datagram *datagram), void *user);

/* Sends payload to datagram->peer from datagram->local (and interface, where local is link-local); multicast
 * locals are left to the kernel to choose. A full socket buffer drops the datagram, as a network would. */
void udp_socket_send(int fd, const struct udp_datagram *datagram);

/* Whether a quarter of the send buffer waits to leave: for neighbours whose link-layer address is not known,
 * where somebody invents them, and what fills it would stop all other answers. */
bool udp_socket_is_congested(int fd);

#endif
