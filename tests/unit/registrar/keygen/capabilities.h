/* SMIMECapabilities in DER, to be put together (RFC 8551 section 2.5.2). */
#ifndef ESTUARY_TESTS_UNIT_REGISTRAR_KEYGEN_CAPABILITIES_H
#define ESTUARY_TESTS_UNIT_REGISTRAR_KEYGEN_CAPABILITIES_H

/* A string as an initialiser of struct bytes. */
#define OCTETS(text)                                                                                         \
    {                                                                                                        \
        (const uint8_t *)(text), sizeof(text) - 1                                                            \
    }

/* len: one octet, the sum of the capabilities': 0x0d for each of AES and RSA without parameters. */
#define LIST(len, capabilities) OCTETS("\x30" len capabilities)

#define AES_CAPABILITY(arc) "\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x01" arc
#define WRAP_128            AES_CAPABILITY("\x05")
#define WRAP_192            AES_CAPABILITY("\x19")
#define WRAP_256            AES_CAPABILITY("\x2d")
#define CBC_128             AES_CAPABILITY("\x02")
#define CBC_256             AES_CAPABILITY("\x2a")
#define GCM_128             AES_CAPABILITY("\x06")
#define TRIPLE_DES          "\x30\x0a\x06\x08\x2a\x86\x48\x86\xf7\x0d\x03\x07"

/* dhSinglePass-stdDH-sha..kdf-scheme of the SECG with a key wrap, 0x17 octets (RFC 5753 section 7). */
#define STD_DH(arc, wrap) "\x30\x15\x06\x06\x2b\x81\x04\x01\x0b" arc wrap

#define RSA_ENCRYPTION      "\x30\x0b\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"
#define RSA_ENCRYPTION_NULL "\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00"
#define OAEP                "\x30\x0b\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x07"

/* With SHA-256 twice, 0x3e octets (RFC 4055 section 5, rSAES-OAEP-SHA256-Identifier). */
#define SHA_256 "\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00"
#define OAEP_256                                                                                             \
    "\x30\x3c\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x07\x30\x2f\xa0\x0f" SHA_256                           \
    "\xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08" SHA_256

#endif
