/* A file of serial numbers, a million of them if need be, each with what becomes of the device that has it.
 */
#ifndef ESTUARY_REGISTRAR_EXCHANGE_SERIAL_LIST_H
#define ESTUARY_REGISTRAR_EXCHANGE_SERIAL_LIST_H

#include "common/bytes.h"
#include "registrar/settings.h"

#define SERIAL_LIST_FILE_MAX  ((size_t)512 * 1024 * 1024) /* octets */
#define SERIAL_LIST_COUNT_MAX ((size_t)10 * 1000 * 1000)
#define SERIAL_OCTETS_MAX     255

/* Immutable. Takes for each entry the octets of its serial number, two more, and 5 to 11 of the index. */
struct serial_list;

/* Lines, each ended by a line end, the last one too: a file that was cut off is refused.
 *   - allow SERIAL, deny SERIAL or ask SERIAL: a word, blanks, and a subject's serialNumber of 1 to 255
 * octets of visible ASCII, which may have blanks within
 *   - a comment, from a "#" on that begins the line or follows a blank; empty lines mean nothing
 * All or nothing: on failure NULL, and errors names file, line numbers (of the first mistakes), what is wrong
 * and the cure. A serial number may stand twice, if both lines say the same. file is for errors. */
struct serial_list *serial_list_parse(struct bytes text, const char *file, struct buffer *errors);

/* The same for a file. */
struct serial_list *serial_list_load(const char *file, struct buffer *errors);
void serial_list_free(struct serial_list *list);

size_t serial_list_count(const struct serial_list *list);
size_t serial_list_octets(const struct serial_list *list); /* of memory */

bool serial_list_asks(const struct serial_list *list); /* whether a line has the word ask */

/* False: it is not in the list. */
bool serial_list_find(const struct serial_list *list, struct bytes serial, enum access_action *action);

#endif
