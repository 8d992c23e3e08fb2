#include "control.h"

#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>

typedef json_t *control(struct est_service *service, const char *label);

static control report, reset, approve, hold, release;

struct http_response *control_answer(struct est_service *service, const struct http_request *request)
{
    static const struct {
        const char *path, *method;
        control *perform;
    } controls[] = {
        {"/stats", "GET", report}, {"/stats/reset", "POST", reset}, {"/approve", "POST", approve},
        {"/hold", "POST", hold},   {"/release", "POST", release},
    };
    const char *target = http_request_target(request);
    size_t len = strcspn(target, "?");
    const char *label = strncmp(target + len, "?label=", 7) == 0 ? target + len + 7 : NULL;
    for (size_t i = 0; i < sizeof(controls) / sizeof(*controls); i++) {
        if (strlen(controls[i].path) != len || strncmp(target, controls[i].path, len) != 0)
            continue;
        if (strcmp(http_request_method(request), controls[i].method) != 0)
            return http_response_create(405);
        struct http_response *response = http_response_create(200);
        json_t *answer = controls[i].perform(service, label);
        char *text = json_dumps(answer, JSON_INDENT(2));
        http_response_add(response, "Content-Type", "application/json");
        evbuffer_add_printf(response->body, "%s\n", text);
        free(text);
        json_decref(answer);
        return response;
    }
    return NULL;
}

static json_t *report(struct est_service *service, const char *label)
{
    return statistics_report(service->statistics, label);
}

static json_t *reset(struct est_service *service, const char *label)
{
    (void)label;
    statistics_reset(service->statistics);
    service->released = false;
    return json_object();
}

static json_t *approve(struct est_service *service, const char *label)
{
    json_t *answer = json_object();
    json_object_set_new(answer, "approved", json_integer(approvals_grant(service->approvals, label)));
    return answer;
}

static json_t *hold(struct est_service *service, const char *label)
{
    (void)label;
    service->released = false;
    return json_object();
}

static json_t *release(struct est_service *service, const char *label)
{
    (void)label;
    service->released = true;
    return json_object();
}
