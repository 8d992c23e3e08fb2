"""A DTLS 1.2 client whose every datagram the tests see and steer: OpenSSL through ctypes, on memory, over a plain UDP socket."""

import ctypes
import ctypes.util
import socket
import time

ssl = ctypes.CDLL("libssl.so.3")
crypto = ctypes.CDLL("libcrypto.so.3")

P, I, L, S = ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p
TIMER_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_uint, P, ctypes.c_uint)
PSK_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_uint, P, S, P, ctypes.c_uint, P, ctypes.c_uint)

for library, name, result, arguments in [
    (ssl, "DTLS_client_method", P, []), (ssl, "SSL_CTX_new", P, [P]), (ssl, "SSL_CTX_free", None, [P]),
    (ssl, "SSL_CTX_use_certificate_chain_file", I, [P, S]), (ssl, "SSL_CTX_use_PrivateKey_file", I, [P, S, I]),
    (ssl, "SSL_CTX_load_verify_locations", I, [P, S, S]), (ssl, "SSL_CTX_set_verify", None, [P, I, P]),
    (ssl, "SSL_CTX_set_cipher_list", I, [P, S]), (ssl, "SSL_CTX_ctrl", L, [P, I, L, P]),
    (ssl, "SSL_CTX_set_psk_client_callback", None, [P, PSK_CALLBACK]),
    (ssl, "SSL_CTX_set_security_level", None, [P, I]), (ssl, "SSL_CTX_set_options", ctypes.c_uint64, [P, ctypes.c_uint64]),
    (ssl, "SSL_new", P, [P]), (ssl, "SSL_free", None, [P]), (ssl, "SSL_set_bio", None, [P, P, P]),
    (ssl, "SSL_ctrl", L, [P, I, L, P]), (ssl, "DTLS_set_timer_cb", None, [P, TIMER_CALLBACK]), (ssl, "SSL_set_connect_state", None, [P]),
    (ssl, "SSL_set_tlsext_max_fragment_length", I, [P, ctypes.c_uint8]),
    (ssl, "SSL_do_handshake", I, [P]), (ssl, "SSL_read", I, [P, P, I]), (ssl, "SSL_write", I, [P, S, I]),
    (ssl, "SSL_get_error", I, [P, I]), (ssl, "SSL_shutdown", I, [P]), (ssl, "SSL_get_shutdown", I, [P]),
    (ssl, "SSL_get_finished", ctypes.c_size_t, [P, P, ctypes.c_size_t]),
    (ssl, "SSL_get_peer_finished", ctypes.c_size_t, [P, P, ctypes.c_size_t]),
    (ssl, "SSL_get1_session", P, [P]), (ssl, "SSL_set_session", I, [P, P]), (ssl, "SSL_session_reused", I, [P]),
    (ssl, "SSL_SESSION_has_ticket", I, [P]), (ssl, "SSL_SESSION_get_ticket_lifetime_hint", ctypes.c_ulong, [P]),
    (ssl, "SSL_SESSION_dup", P, [P]), (ssl, "SSL_SESSION_free", None, [P]),
    (ssl, "SSL_get_current_cipher", P, [P]), (ssl, "SSL_CIPHER_get_name", S, [P]),
    (ssl, "SSL_get1_peer_certificate", P, [P]), (ssl, "SSL_renegotiate", I, [P]),
    (crypto, "BIO_new", P, [P]), (crypto, "BIO_s_mem", P, []), (crypto, "BIO_write", I, [P, S, I]),
    (crypto, "BIO_read", I, [P, P, I]), (crypto, "BIO_ctrl_pending", ctypes.c_size_t, [P]),
    (crypto, "BIO_ctrl", L, [P, I, L, P]),
    (crypto, "ERR_get_error", ctypes.c_ulong, []), (crypto, "ERR_error_string_n", None, [ctypes.c_ulong, S, ctypes.c_size_t]),
    (crypto, "i2d_X509", I, [P, ctypes.POINTER(P)]), (crypto, "X509_free", None, [P]),
    (crypto, "CRYPTO_free", None, [P, S, I]),
]:
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments

# SSL_CTX_ctrl and SSL_ctrl commands of OpenSSL 3.0's public macros.
SET_MTU, SET_GROUPS_LIST, SET_MIN_VERSION, SET_MAX_VERSION, SET_SNI = 17, 92, 123, 124, 55
DTLS_GET_TIMEOUT, DTLS_HANDLE_TIMEOUT = 73, 74
OP_NO_QUERY_MTU, OP_NO_EXTENDED_MASTER_SECRET = 1 << 12, 1 << 0
BIO_SET_MEM_EOF_RETURN = 130
WANT_READ, ZERO_RETURN = 2, 6
DTLS1_VERSION, DTLS1_2_VERSION = 0xFEFF, 0xFEFD

MFL_512, MFL_1024 = 1, 2

PATIENCE_S = 20  # with what must come; a busy machine may be late


class DtlsError(Exception):
    """The handshake failed, or the peer sent a fatal alert; the text is OpenSSL's."""


class Closed(Exception):
    """The peer said close_notify."""


def records(data):
    """Takes a flight apart: the DTLS records in it (RFC 6347 section 4.1)."""
    while data:
        end = 13 + int.from_bytes(data[11:13], "big")
        yield data[:end]
        data = data[end:]


class Session:
    """A copy of a client's session, which OpenSSL spoils when its own association ends badly."""

    def __init__(self, of):
        held = ssl.SSL_get1_session(of)
        self.at = ssl.SSL_SESSION_dup(held)
        ssl.SSL_SESSION_free(held)

    def __del__(self):
        ssl.SSL_SESSION_free(self.at)

    def has_ticket(self):
        return ssl.SSL_SESSION_has_ticket(self.at) == 1

    def lifetime(self):
        return ssl.SSL_SESSION_get_ticket_lifetime_hint(self.at)


class DtlsClient:
    """One association. `sent` and `received` keep every datagram's octets; `deliver` may veto what is sent."""

    def __init__(self, server, certificate=None, key=None, trust=None, ciphers="ECDHE-ECDSA-AES128-CCM8", groups=None,
                 mtu=1200, max_fragment_length=None, server_name=None, local=None, version=DTLS1_2_VERSION, psk=None,
                 udp=None, extended_master_secret=True, session=None, retransmit_after_s=None):
        family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
        self.server = server
        self.udp = udp or socket.socket(family, socket.SOCK_DGRAM)
        self.owns_udp = udp is None
        if local:
            self.udp.bind(local)
        self.sent, self.received = [], []
        self.deliver = lambda record: True
        self.ssl = None
        self.ctx = self._context(certificate, key, trust, ciphers, groups, version, psk, extended_master_secret)
        self.ssl = ssl.SSL_new(self.ctx)
        self.incoming, self.outgoing = crypto.BIO_new(crypto.BIO_s_mem()), crypto.BIO_new(crypto.BIO_s_mem())
        for bio in (self.incoming, self.outgoing):
            crypto.BIO_ctrl(bio, BIO_SET_MEM_EOF_RETURN, -1, None)
        ssl.SSL_set_bio(self.ssl, self.incoming, self.outgoing)
        ssl.SSL_ctrl(self.ssl, SET_MTU, mtu, None)
        if max_fragment_length:
            assert ssl.SSL_set_tlsext_max_fragment_length(self.ssl, max_fragment_length) == 1
        if server_name:
            ssl.SSL_ctrl(self.ssl, SET_SNI, 0, ctypes.cast(ctypes.c_char_p(server_name.encode()), P))
        if retransmit_after_s:
            self.timer = TIMER_CALLBACK(lambda _, before_us: 2 * before_us or int(retransmit_after_s * 1e6))
            ssl.DTLS_set_timer_cb(self.ssl, self.timer)
        if session:
            assert ssl.SSL_set_session(self.ssl, session.at) == 1
        ssl.SSL_set_connect_state(self.ssl)

    def _context(self, certificate, key, trust, ciphers, groups, version, psk, extended_master_secret):
        ctx = ssl.SSL_CTX_new(ssl.DTLS_client_method())
        options = OP_NO_QUERY_MTU | (0 if extended_master_secret else OP_NO_EXTENDED_MASTER_SECRET)
        ssl.SSL_CTX_set_options(ctx, options)
        ssl.SSL_CTX_ctrl(ctx, SET_MIN_VERSION, version, None)
        ssl.SSL_CTX_ctrl(ctx, SET_MAX_VERSION, version, None)
        # First: the security level decides which certificates may be loaded. OpenSSL 3.2 and later want 0 for CCM_8.
        ssl.SSL_CTX_set_security_level(ctx, 0)
        assert ssl.SSL_CTX_set_cipher_list(ctx, ciphers.encode()) == 1, ciphers
        if certificate:
            assert ssl.SSL_CTX_use_certificate_chain_file(ctx, str(certificate).encode()) == 1, certificate
            assert ssl.SSL_CTX_use_PrivateKey_file(ctx, str(key or certificate).encode(), 1) == 1, key
        if trust:
            assert ssl.SSL_CTX_load_verify_locations(ctx, str(trust).encode(), None) == 1, trust
            ssl.SSL_CTX_set_verify(ctx, 1, None)
        if groups:
            assert ssl.SSL_CTX_ctrl(ctx, SET_GROUPS_LIST, 0, ctypes.cast(ctypes.c_char_p(groups.encode()), P)) == 1
        if psk:
            self._psk = PSK_CALLBACK(lambda *a: (ctypes.memmove(a[2], b"id\0", 3), ctypes.memmove(a[4], psk, len(psk)),
                                                 len(psk))[2])
            ssl.SSL_CTX_set_psk_client_callback(ctx, self._psk)
        return ctx

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def flush(self):
        """Sends what OpenSSL has written, one record a datagram."""
        size = crypto.BIO_ctrl_pending(self.outgoing)
        if not size:
            return
        buffer = ctypes.create_string_buffer(size)
        got = crypto.BIO_read(self.outgoing, buffer, size)
        for record in records(buffer.raw[:got]):
            self.sent.append(record)
            if self.deliver(record):
                self.udp.sendto(record, self.server)

    def pull(self, timeout):
        """Waits for one datagram and hands it to OpenSSL; False after the timeout."""
        self.udp.settimeout(max(timeout, 0.0001))
        try:
            datagram, self.peer = self.udp.recvfrom(65535)
        except (TimeoutError, ConnectionRefusedError):
            return False
        self.received.append(datagram)
        crypto.BIO_write(self.incoming, datagram, len(datagram))
        return True

    def handshake(self, timeout=PATIENCE_S):
        deadline = time.monotonic() + timeout
        while True:
            result = ssl.SSL_do_handshake(self.ssl)
            self.flush()
            if result == 1:
                return self
            self._check(result)
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("the handshake did not finish")
            if not self.pull(min(left, self._timer())):
                ssl.SSL_ctrl(self.ssl, DTLS_HANDLE_TIMEOUT, 0, None)
                self.flush()

    def say_hello(self):
        """Says hello, brings the cookie back, and no more: a handshake that is half open, or refused."""
        for answered in (False, True):
            assert not answered or self.pull(PATIENCE_S)
            self._check(ssl.SSL_do_handshake(self.ssl))
            self.flush()

    def _timer(self):
        value = (ctypes.c_long * 2)()
        if ssl.SSL_ctrl(self.ssl, DTLS_GET_TIMEOUT, 0, ctypes.byref(value)) != 1:
            return 1.0
        return value[0] + value[1] / 1e6

    def _check(self, result):
        error = ssl.SSL_get_error(self.ssl, result)
        if error == WANT_READ:
            return
        if error == ZERO_RETURN:
            raise Closed("close_notify")
        text = ctypes.create_string_buffer(256)
        crypto.ERR_error_string_n(crypto.ERR_get_error(), text, 256)
        while crypto.ERR_get_error():
            pass
        raise DtlsError(text.value.decode())

    def send(self, data):
        result = ssl.SSL_write(self.ssl, data, len(data))
        if result != len(data):
            self._check(result)
        self.flush()

    def receive(self, timeout=PATIENCE_S):
        """One record's application data, or None after the timeout."""
        deadline = time.monotonic() + timeout
        buffer = ctypes.create_string_buffer(16384)
        while True:
            result = ssl.SSL_read(self.ssl, buffer, 16384)
            self.flush()
            if result > 0:
                return buffer.raw[:result]
            self._check(result)
            if not self.pull(deadline - time.monotonic()):
                if time.monotonic() >= deadline:
                    return None

    def close(self):
        if self.ssl and self.udp.fileno() >= 0:
            ssl.SSL_shutdown(self.ssl)
            self.flush()
        self.abandon()

    def abandon(self):
        """As a device that lost its power: no word to the peer."""
        if self.ssl:
            ssl.SSL_free(self.ssl)
            ssl.SSL_CTX_free(self.ctx)
            self.ssl = None
        if self.owns_udp:
            self.udp.close()

    def cipher(self):
        return ssl.SSL_CIPHER_get_name(ssl.SSL_get_current_cipher(self.ssl)).decode()

    def finished(self):
        """The client's Finished: tls-unique of a full handshake (RFC 5929 section 3.1)."""
        return self._verify_data(ssl.SSL_get_finished)

    def peer_finished(self):
        """The server's Finished: tls-unique of a resumed session."""
        return self._verify_data(ssl.SSL_get_peer_finished)

    def _verify_data(self, read):
        buffer = ctypes.create_string_buffer(64)
        size = read(self.ssl, buffer, 64)
        return buffer.raw[:size]

    def tls_unique(self):
        return self.peer_finished() if self.resumed() else self.finished()

    def resumed(self):
        return ssl.SSL_session_reused(self.ssl) == 1

    def session(self):
        """For another client to resume."""
        return Session(self.ssl)

    def peer_certificate(self):
        certificate = ssl.SSL_get1_peer_certificate(self.ssl)
        out = P()
        size = crypto.i2d_X509(certificate, ctypes.byref(out))
        der = ctypes.string_at(out, size)
        crypto.CRYPTO_free(out, b"", 0)
        crypto.X509_free(certificate)
        return der
