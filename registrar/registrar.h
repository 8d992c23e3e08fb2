/* The registrar: owns everything that runs; built in the order of dependence and freed in reverse. */
#ifndef ESTUARY_REGISTRAR_REGISTRAR_H
#define ESTUARY_REGISTRAR_REGISTRAR_H

#include "common/bytes.h"
#include "registrar/settings.h"

struct registrar;
struct snapshot;

/* Opens all sockets, to serve by what registrar_check has loaded, which it takes. On failure NULL, and errors
 * has one line for each thing wrong. Borrows settings, which are what the file says, and file, which is read
 * again on SIGHUP. */
struct registrar *registrar_create(const char *file, const struct settings *settings,
                                   struct snapshot *snapshot, struct buffer *errors);
void registrar_free(struct registrar *registrar);

/* Serves until SIGTERM or SIGINT, then drains. Called on the main thread, which handles signals and the
 * discovery port; the workers have threads of their own. STATUS_SYSTEM: a worker could not be started. */
enum status registrar_run(struct registrar *registrar);

/* Loads all that the settings name, without opening a socket. Gives it; NULL, and errors has a line for each
 * thing wrong. warnings has one for each thing that will hurt later. */
struct snapshot *registrar_check(const char *file, const struct settings *settings, struct buffer *errors,
                                 struct buffer *warnings);

#endif
