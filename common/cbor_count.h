/* The type in which libcbor tells callbacks how much there is: it was size_t until 0.9. */
#ifndef ESTUARY_COMMON_CBOR_COUNT_H
#define ESTUARY_COMMON_CBOR_COUNT_H

#include <cbor.h>

#include <stddef.h>
#include <stdint.h>

#if CBOR_MAJOR_VERSION == 0 && CBOR_MINOR_VERSION < 10
typedef size_t cbor_count;
#else
typedef uint64_t cbor_count;
#endif

_Static_assert(_Generic((cbor_string_callback)0, void (*)(void *, cbor_data, cbor_count) : 1, default : 0) &&
                   _Generic((cbor_collection_callback)0, void (*)(void *, cbor_count) : 1, default : 0),
               "libcbor's callbacks have changed");

#endif
