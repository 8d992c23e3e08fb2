/* What the join proxy's configuration file says, as plain values. */
#ifndef ESTUARY_JOINPROXY_SETTINGS_H
#define ESTUARY_JOINPROXY_SETTINGS_H

#include "common/log.h"
#include "common/settings_table.h"

#define PLEDGE_LINKS_MAX 16 /* interfaces with pledges */

enum proxy_mode {
    MODE_AUTO, /* with registrars given: stateful; else what discovery finds (JP-2) */
    MODE_STATEFUL,
    MODE_STATELESS
};

struct pledge_settings {
    struct settings_strings interfaces;
    uint32_t join_port; /* of the first registrar; the next one has the next port (JP-11) */
    bool any_source;    /* laboratories only (JP-9) */
    bool transparent;   /* pledges address the registrar itself (JP-3) */
};

struct stateful_settings {
    uint32_t idle_s;                            /* JP-6 */
    uint32_t max_per_pledge, max_per_interface; /* JP-7 */
};

struct stateless_settings {
    uint32_t source_port; /* towards the first registrar; 0: the kernel chooses */
    uint32_t mtu;         /* octets of an IP packet towards the registrar; 0: that of the path */
    char *key_file;       /* absolute; "": keys end with the process */
    uint32_t key_lifetime_s;
};

struct limit_settings { /* JP-10, each with a burst of one second's worth */
    uint32_t interface_packets_per_s, interface_octets_per_s, pledge_packets_per_s;
};

struct discovery_settings {
    bool answer, legacy_names; /* towards pledges (JPD-1, JPD-2) */
    uint32_t port;             /* of CoAP, where pledges ask and registrars are asked */
    uint32_t leisure_ms;
    struct settings_strings registrar_interfaces; /* where a registrar is looked for (JPD-6) */
    char *group;                                  /* whom it is asked of */
    uint32_t retry_s, retry_max_s, cache_s;
};

struct settings {
    enum proxy_mode mode;
    struct settings_endpoints registrars;
    struct pledge_settings pledge;
    struct stateful_settings stateful;
    struct stateless_settings stateless;
    struct limit_settings limits;
    struct discovery_settings discovery;
    struct log_settings log;
};

/* Gives. NULL: errors has a line for each mistake, all of the file at once. warnings may get lines as well.
 */
struct settings *settings_read(const char *file, struct buffer *errors, struct buffer *warnings);
void settings_free(struct settings *settings);

/* Appends the settings as a file that reads the same. */
void settings_print(const struct settings *settings, struct buffer *json);

/* Whether this mode may be in use, stateful or stateless (JP-2). */
bool settings_may_use(const struct settings *settings, enum proxy_mode mode);

/* Appends the tables of docs/join-proxy.md (Markdown). */
void settings_reference(struct buffer *markdown);

#endif
