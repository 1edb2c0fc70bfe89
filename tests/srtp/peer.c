/* libsrtp as a foreign peer of our SRTP: one line in, one line out.
 * In:  SUITE KEY (seal|open) (rtp|rtcp) PACKET, all but the words in hex.
 * Out: the packet in hex, or `-` where libsrtp does not take it. One context for
 * each suite, key and direction, as in a call. */
#include <srtp2/srtp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE 8192
#define CONTEXTS 64

static struct { char name[256]; srtp_t context; } known[CONTEXTS];
static int count;

static int read_hex(const char *text, unsigned char *out) {
    int length = 0;
    unsigned byte;
    while (sscanf(text + 2 * length, "%2x", &byte) == 1) out[length++] = byte;
    return length;
}

static srtp_t context(const char *suite, const char *key, int seals) {
    char name[256];
    snprintf(name, sizeof name, "%s %s %d", suite, key, seals);
    for (int i = 0; i < count; i++)
        if (!strcmp(known[i].name, name)) return known[i].context;
    if (count == CONTEXTS) exit(2);
    static unsigned char keys[CONTEXTS][64];
    srtp_policy_t policy;
    memset(&policy, 0, sizeof policy);
    read_hex(key, keys[count]);
    if (!strcmp(suite, "AEAD_AES_128_GCM")) {
        srtp_crypto_policy_set_aes_gcm_128_16_auth(&policy.rtp);
        srtp_crypto_policy_set_aes_gcm_128_16_auth(&policy.rtcp);
    } else if (!strcmp(suite, "AES_CM_128_HMAC_SHA1_80")) {
        srtp_crypto_policy_set_aes_cm_128_hmac_sha1_80(&policy.rtp);
        srtp_crypto_policy_set_aes_cm_128_hmac_sha1_80(&policy.rtcp);
    } else if (!strcmp(suite, "AES_CM_128_HMAC_SHA1_32")) {
        srtp_crypto_policy_set_aes_cm_128_hmac_sha1_32(&policy.rtp);
        /* RFC 4568 6.2.2: RTCP keeps the long tag. */
        srtp_crypto_policy_set_aes_cm_128_hmac_sha1_80(&policy.rtcp);
    } else {
        exit(3);
    }
    policy.ssrc.type = seals ? ssrc_any_outbound : ssrc_any_inbound;
    policy.key = keys[count];
    policy.window_size = 128;
    if (srtp_create(&known[count].context, &policy) != srtp_err_status_ok) exit(4);
    strcpy(known[count].name, name);
    return known[count++].context;
}

int main(void) {
    static char line[LINE], suite[64], key[128], way[16], kind[16], packet[LINE];
    static unsigned char bytes[LINE];
    if (srtp_init() != srtp_err_status_ok) return 1;
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "%63s %127s %15s %15s %8191s", suite, key, way, kind, packet) != 5) return 5;
        int length = read_hex(packet, bytes), seals = !strcmp(way, "seal");
        srtp_t with = context(suite, key, seals);
        int rtp = !strcmp(kind, "rtp");
        srtp_err_status_t status =
            seals ? (rtp ? srtp_protect(with, bytes, &length) : srtp_protect_rtcp(with, bytes, &length))
                  : (rtp ? srtp_unprotect(with, bytes, &length) : srtp_unprotect_rtcp(with, bytes, &length));
        if (status != srtp_err_status_ok) {
            puts("-");
        } else {
            for (int i = 0; i < length; i++) printf("%02x", bytes[i]);
            puts("");
        }
        fflush(stdout);
    }
    return 0;
}
