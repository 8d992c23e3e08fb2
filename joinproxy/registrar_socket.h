/* A socket that is connected to the registrar: hears nobody else (JP-9, JPY-4). */
#ifndef ESTUARY_JOINPROXY_REGISTRAR_SOCKET_H
#define ESTUARY_JOINPROXY_REGISTRAR_SOCKET_H

#include "joinproxy/icmp_error.h"

/* Opens one on this port of ours, 0 for one that the kernel chooses and nobody else has (JP-5).
 * STATUS_NOT_FOUND: there is no route to the registrar now. STATUS_SYSTEM: all else. Both with errno. */
enum status registrar_socket_open(const struct endpoint *registrar, uint16_t port, int *fd);

/* Whether the address that it sends from is still one of ours. If not, no answer comes any more. */
bool registrar_socket_has_address(int fd);

/* Octets of the largest IP packet that reaches the registrar whole, as far as the kernel knows; UINT16_MAX if
 * it does not. */
size_t registrar_socket_mtu(int fd);

void registrar_socket_send(int fd, struct bytes payload);

/* Reads one report of an error about what was sent, and the payload that met it, into room. False: there is
 * none. error->type is 0 for one that no pledge should hear of. */
bool registrar_socket_error(int fd, struct icmp_error *error, struct buffer *payload);

#endif
