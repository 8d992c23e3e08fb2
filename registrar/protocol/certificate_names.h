/* The names in certificates and requests as text, as access rules, logs and people compare them. Pure. */
#ifndef ESTUARY_REGISTRAR_PROTOCOL_CERTIFICATE_NAMES_H
#define ESTUARY_REGISTRAR_PROTOCOL_CERTIFICATE_NAMES_H

#include "common/bytes.h"

#include <openssl/x509v3.h>

/* Appends a name as RFC 4514 has it, the last attribute first: "CN=meter,O=Example". Control octets and all
 * beyond ASCII are written as \HH, as the log does and "openssl x509 -nameopt RFC2253". */
void certificate_names_write_dn(const X509_NAME *name, struct buffer *text);

/* Appends the value of an attribute as UTF-8. False: it is no text. */
bool certificate_names_write_value(const ASN1_STRING *value, struct buffer *text);

/* Appends a subjectAltName: "dns:meter.example" (in lower case, for host names have none), "uri:…",
 * "email:…", "ip:192.0.2.1" or "ip:2001:db8::1", "hardware:1.3.6.1.4.1.6715.10.1:01020304" (a
 * hardwareModuleName of RFC 4108: its type, and its serial number in hexadecimal). False: it is of another
 * kind or holds other octets than visible ASCII, and nothing is appended. */
bool certificate_names_write_alternative(const GENERAL_NAME *name, struct buffer *text);

/* Appends octets in lower-case hexadecimal. */
void certificate_names_write_hex(struct bytes octets, struct buffer *text);

#endif
