#include "common/siphash.h"

struct state {
    uint64_t v0, v1, v2, v3;
};

static uint64_t read_word(const uint8_t *at, size_t octets);
static void compress(struct state *state, uint64_t word);
static void rounds(struct state *state, unsigned count);
static uint64_t rotate(uint64_t word, unsigned bits);

uint64_t siphash(const struct siphash_key *key, struct bytes octets)
{
    uint64_t k0 = read_word(key->octets, 8), k1 = read_word(key->octets + 8, 8);
    struct state state = {k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261,
                          k1 ^ 0x7465646279746573};
    size_t whole = octets.len / 8 * 8;
    for (size_t i = 0; i < whole; i += 8)
        compress(&state, read_word(octets.at + i, 8));
    compress(&state, (uint64_t)octets.len << 56 | read_word(octets.at + whole, octets.len - whole));
    state.v2 ^= 0xff;
    rounds(&state, 4);
    return state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
}

/* Little-endian. */
static uint64_t read_word(const uint8_t *at, size_t octets)
{
    uint64_t word = 0;
    for (size_t i = octets; i > 0; i--)
        word = word << 8 | at[i - 1];
    return word;
}

static void compress(struct state *state, uint64_t word)
{
    state->v3 ^= word;
    rounds(state, 2);
    state->v0 ^= word;
}

static void rounds(struct state *state, unsigned count)
{
    while (count-- > 0) {
        state->v0 += state->v1;
        state->v1 = rotate(state->v1, 13) ^ state->v0;
        state->v0 = rotate(state->v0, 32);
        state->v2 += state->v3;
        state->v3 = rotate(state->v3, 16) ^ state->v2;
        state->v0 += state->v3;
        state->v3 = rotate(state->v3, 21) ^ state->v0;
        state->v2 += state->v1;
        state->v1 = rotate(state->v1, 17) ^ state->v2;
        state->v2 = rotate(state->v2, 32);
    }
}

static uint64_t rotate(uint64_t word, unsigned bits)
{
    return word << bits | word >> (64 - bits);
}
