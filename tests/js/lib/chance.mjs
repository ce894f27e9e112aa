// Seeded chance, so that a run that failed can be repeated.

/** A function that returns numbers in [0, 1), always the same ones for one seed (mulberry32). */
export function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** The seed of this run: STARLINGS_TEST_SEED, or a fixed one. It is printed with failures. */
export const runSeed = Number(process.env.STARLINGS_TEST_SEED ?? 20261123);
