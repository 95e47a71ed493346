/** Drawing once a frame, however much has arrived. */

const waiting = new Set();

/**
 * Run `draw` before the next paint; asked again before then, it still runs once. A hidden page doesn't paint, so there
 * it waits until the reader comes back.
 */
export function nextFrame(draw) {
  if (waiting.size === 0) requestAnimationFrame(run);
  waiting.add(draw);
}

function run() {
  const draws = [...waiting];
  waiting.clear();
  for (const draw of draws) draw();
}
