#include "registrar/upstream/redirect.h"

static bool is_redirect(unsigned http_status, bool is_post);

enum redirect_verdict redirect_judge(const struct redirected *asked, const struct est_response *response,
                                     const struct server_group *group, struct buffer *url,
                                     const char **complaint)
{
    struct https_origin from, to;
    if (response->result != EST_ANSWERED || !is_redirect(response->http_status, asked->is_post))
        return REDIRECT_NONE;
    *complaint = "it has redirected the request too often";
    if (asked->count >= REDIRECTS_MAX)
        return REDIRECT_REFUSED;
    *complaint = "its redirect leads to no https URL";
    if (https_url_origin(asked->url, &from) != STATUS_OK ||
        https_url_resolve(asked->url, response->location, url, &to) != STATUS_OK)
        return REDIRECT_REFUSED;
    *complaint = "its redirect leads to another origin, which is not in upstream.redirect_origins";
    return https_origin_equal(&from, &to) || server_group_may_redirect_to(group, &to) ? REDIRECT_FOLLOW
                                                                                      : REDIRECT_REFUSED;
}

/* RFC 9110 section 15.4: with 301, 302 and 303 a POST would become a GET, which asks for no certificate. */
static bool is_redirect(unsigned http_status, bool is_post)
{
    switch (http_status) {
    case 307:
    case 308:
        return true;
    case 301:
    case 302:
    case 303:
        return !is_post;
    default:
        return false;
    }
}
