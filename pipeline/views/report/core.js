"use strict";
// What the parts of a report share: packed numbers, and the one time that everything follows.
const bytesOf = (text) => {
  const raw = atob(text),
    bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i); // ten times as fast as Uint8Array.from
  return bytes;
};
R.floats = (packed) => new Float32Array(bytesOf(packed.f4).buffer); // little-endian, as browsers' machines are
R.bytes = (packed) => bytesOf(packed.u1);

R.length = Math.max(R.data.clip.length, 0.01);
R.now = 0;
R.followers = []; // called with the time whenever it changes
R.at = (time) => {
  R.now = Math.min(Math.max(time, 0), R.length);
  for (const follow of R.followers) follow(R.now);
};

// A browser cuts the clip's time to microseconds (0.4078125 s becomes 0.407812 s): what begins less than
// SLACK later has begun.
R.SLACK = 2e-6;
R.begun = (start, time) => start <= time + R.SLACK;
// The utterance at a time, or the nearest one before it.
R.utteranceAt = (time) => {
  let latest = null;
  for (const utterance of R.data.utterances)
    if (R.begun(utterance.start, time)) latest = utterance;
    else break;
  return latest;
};
R.inside = (span, time) => span !== null && R.begun(span.start, time) && !R.begun(span.end, time);
R.utteranceNow = (time) => {
  const latest = R.utteranceAt(time);
  return R.inside(latest, time) ? latest : null;
};
// The last index that has begun, in sorted starts; -1 before the first.
R.before = (starts, time) => {
  let low = 0,
    high = starts.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (R.begun(starts[middle], time)) low = middle + 1;
    else high = middle;
  }
  return low - 1;
};
R.flagText = (flag) => flag.replaceAll("_", " ");
R.answer = (one) =>
  one.emotion === null ? "no answer" : one.emotion + " " + R.percent(one.probabilities[one.emotion]);
