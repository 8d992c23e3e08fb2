#include "output_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/pem.h>

struct output {
    const char *path;
    char draft[512]; /* beside it, renamed when it is whole */
    FILE *file;
};

static bool begin(struct output *output, const char *path, mode_t mode, struct explanation *why);
static bool end(struct output *output, bool good, struct explanation *why);

bool write_certificate(const char *path, X509 *certificate, struct explanation *why)
{
    struct output output;
    return begin(&output, path, 0644, why) &&
           end(&output, PEM_write_X509(output.file, certificate) == 1, why);
}

bool write_certificates(const char *path, STACK_OF(X509) * certificates, struct explanation *why)
{
    struct output output;
    if (!begin(&output, path, 0644, why))
        return false;
    bool good = true;
    for (int i = 0; good && i < sk_X509_num(certificates); i++)
        good = PEM_write_X509(output.file, sk_X509_value(certificates, i)) == 1;
    return end(&output, good, why);
}

bool write_octets(const char *path, struct view octets, struct explanation *why)
{
    struct output output;
    return begin(&output, path, 0644, why) &&
           end(&output, fwrite(octets.at, 1, octets.len, output.file) == octets.len, why);
}

bool write_private_key(const char *path, EVP_PKEY *key, struct explanation *why)
{
    struct output output;
    return begin(&output, path, 0600, why) &&
           end(&output, PEM_write_PKCS8PrivateKey(output.file, key, NULL, NULL, 0, NULL, NULL) == 1, why);
}

static bool begin(struct output *output, const char *path, mode_t mode, struct explanation *why)
{
    output->path = path;
    int length = snprintf(output->draft, sizeof(output->draft), "%s.%ld", path, (long)getpid());
    if (length < 0 || (size_t)length >= sizeof(output->draft))
        return explain(why, "%s: the name is too long", path);
    int descriptor = open(output->draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    output->file = descriptor < 0 ? NULL : fdopen(descriptor, "w");
    return output->file != NULL || explain(why, "%s: %s", output->draft, strerror(errno));
}

static bool end(struct output *output, bool good, struct explanation *why)
{
    good = fclose(output->file) == 0 && good;
    if (good && rename(output->draft, output->path) == 0)
        return true;
    explain(why, "%s: %s", output->path, strerror(errno));
    unlink(output->draft);
    return false;
}
