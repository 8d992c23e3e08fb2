/* The steps of simpleenroll, simplereenroll and serverkeygen (RFC 7030 sections 4.2 and 4.4). */
#ifndef EST_SERVER_ENROLMENT_H
#define EST_SERVER_ENROLMENT_H

#include "transaction.h"

transaction_step enrolment_authenticate;       /* section 3.2.3, 3.3.2 */
transaction_step enrolment_check_content_type; /* section 4.2.1 */
transaction_step enrolment_read_request;
transaction_step enrolment_check_signature; /* section 3.4 */
transaction_step enrolment_check_linking;   /* section 3.5; not for an RA: section 3.7 */
transaction_step enrolment_check_subject;   /* section 4.2.2; not for an RA */
transaction_step enrolment_await_approval;  /* section 4.2.3 */
transaction_step enrolment_generate_key;
transaction_step enrolment_issue;
transaction_step enrolment_give_certificate;
transaction_step enrolment_give_key_and_certificate;

#endif
