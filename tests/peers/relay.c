/* A DTLS client for tests that speak CoAP themselves: packets of a Unix socket (standard input) on one side,
   the registrar on the other. The first octet of a packet says what it is. Commands: O open an association, D
   data, R renegotiate, C close. Told: O the handshake is done, with facts, D data, R renegotiated, C closed,
   F failed and why. */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stack.h"

enum { COMMANDS = STDIN_FILENO, TICK_MS = 10, PACKET_MAX = 2048 };

struct relay {
    struct stack *stack;
    struct sockaddr_in registrar;
    int udp;                                    /* -1: no association */
    enum progress (*negotiate)(struct stack *); /* NULL: no handshake under way */
    char negotiated;                            /* what is told at its end */
};

static bool serve(struct relay *relay);
static bool obey(struct relay *relay);
static void open_association(struct relay *relay);
static void begin(struct relay *relay, enum progress (*negotiate)(struct stack *), char negotiated);
static void go_on(struct relay *relay);
static void describe(struct relay *relay);
static void pass_data(struct relay *relay);
static void end(struct relay *relay, enum progress why);
static void tell(char what, const void *octets, size_t size);

int main(int argc, char **argv)
{
    if (argc != 7) {
        fprintf(stderr, "usage: %s PORT CERTIFICATE KEY TRUST MTU MAX_FRAGMENT_LENGTH\n", argv[0]);
        return EXIT_FAILURE;
    }
    struct stack_options options = {.certificate = argv[2],
                                    .key = argv[3],
                                    .trust = argv[4],
                                    .mtu = (unsigned)atoi(argv[5]),
                                    .max_fragment_length = (unsigned)atoi(argv[6])};
    struct relay relay = {.stack = stack_create(&options), .udp = -1};
    relay.registrar.sin_family = AF_INET;
    relay.registrar.sin_port = htons((uint16_t)atoi(argv[1]));
    relay.registrar.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (relay.stack == NULL)
        return EXIT_FAILURE;
    while (serve(&relay)) {
    }
    if (relay.udp != -1)
        close(relay.udp);
    stack_free(relay.stack);
    return EXIT_SUCCESS;
}

/* False: the test has ended. */
static bool serve(struct relay *relay)
{
    struct pollfd ready[] = {{.fd = COMMANDS, .events = POLLIN}, {.fd = relay->udp, .events = POLLIN}};
    poll(ready, 2, relay->negotiate != NULL ? TICK_MS : -1);
    if (ready[0].revents != 0 && !obey(relay))
        return false;
    if (relay->negotiate != NULL)
        go_on(relay);
    else if (relay->udp != -1 && ready[1].revents != 0)
        pass_data(relay);
    return true;
}

static bool obey(struct relay *relay)
{
    uint8_t packet[PACKET_MAX];
    ssize_t size = recv(COMMANDS, packet, sizeof(packet), 0);
    if (size <= 0)
        return false;
    if (packet[0] == 'O')
        open_association(relay);
    else if (relay->udp == -1)
        tell('F', "no association", 14);
    else if (packet[0] == 'D' && !stack_write(relay->stack, packet + 1, (size_t)size - 1))
        end(relay, PROGRESS_FAILED);
    else if (packet[0] == 'R')
        begin(relay, stack_renegotiate, 'R');
    else if (packet[0] == 'C')
        end(relay, PROGRESS_CLOSED);
    return true;
}

static void open_association(struct relay *relay)
{
    relay->udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (relay->udp != -1 &&
        connect(relay->udp, (struct sockaddr *)&relay->registrar, sizeof(relay->registrar)) == 0 &&
        stack_open(relay->stack, relay->udp))
        begin(relay, stack_handshake, 'O');
    else
        end(relay, PROGRESS_FAILED);
}

static void begin(struct relay *relay, enum progress (*negotiate)(struct stack *), char negotiated)
{
    relay->negotiate = negotiate;
    relay->negotiated = negotiated;
    go_on(relay);
}

static void go_on(struct relay *relay)
{
    enum progress progress = relay->negotiate(relay->stack);
    if (progress == PROGRESS_WAIT)
        return;
    relay->negotiate = NULL;
    if (progress != PROGRESS_DONE) {
        end(relay, progress);
        return;
    }
    describe(relay);
    pass_data(relay);
}

static void describe(struct relay *relay)
{
    struct stack_facts facts = {0};
    stack_facts(relay->stack, &facts);
    char text[PACKET_MAX];
    int size = snprintf(text, sizeof(text), "%s %d ", facts.cipher, facts.resumed);
    for (size_t i = 0; i < sizeof(facts.tls_unique); i++)
        size += snprintf(text + size, sizeof(text) - (size_t)size, "%02x", facts.tls_unique[i]);
    tell(relay->negotiated, text, (size_t)size);
}

static void pass_data(struct relay *relay)
{
    uint8_t octets[PACKET_MAX];
    size_t size = 0;
    enum progress progress;
    while ((progress = stack_read(relay->stack, octets, sizeof(octets) - 1, &size)) == PROGRESS_DONE)
        tell('D', octets, size);
    if (progress != PROGRESS_WAIT)
        end(relay, progress);
}

static void end(struct relay *relay, enum progress why)
{
    char text[TROUBLE_MAX] = "";
    if (why == PROGRESS_FAILED)
        stack_trouble(relay->stack, text);
    stack_close(relay->stack);
    if (relay->udp != -1)
        close(relay->udp);
    relay->udp = -1;
    relay->negotiate = NULL;
    tell(why == PROGRESS_FAILED ? 'F' : 'C', text, strlen(text));
}

static void tell(char what, const void *octets, size_t size)
{
    uint8_t packet[PACKET_MAX] = {(uint8_t)what};
    memcpy(packet + 1, octets, size);
    send(COMMANDS, packet, size + 1, MSG_NOSIGNAL);
}
