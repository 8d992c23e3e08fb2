import time, coap
from enrolment import *
from server_keys import *
def test_flood(start_registrar, connect, est_server, pki):
    r = start_registrar({"est": {**BOTH, "server_keygen": "local", "key_type": "RSA-4096", "max_pending_per_client": 1000}, "coap": {"separate_after_ms": 10, "answer_within_ms": 20}, "drain_ms": 0})
    p = connect(r)
    t0=time.time()
    for i in range(100):
        csr=make_csr(pki); t=time.time(); a=enrol(p, csr, "skg")[0]
        print(i, round(t-t0,2), round(time.time()-t,3), a and a.status)
        if a is None: print("\n".join(r.program.lines[-5:])); break
