/** Figures as people read them. */

const whole = new Intl.NumberFormat("en");

export function count(number) {
  return whole.format(number);
}

/** 0.42 s, 12.3 s, 2 min 5 s */
export function seconds(value) {
  if (value < 10) return `${value.toFixed(2)} s`;
  if (value < 60) return `${value.toFixed(1)} s`;
  return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
}

/** Two digits of what matters: $1.25, $0.031, $0.00021. */
export function usd(value) {
  if (value === 0) return "$0";
  if (value >= 0.1) return `$${value.toFixed(2)}`;
  const digits = Math.min(8, 1 - Math.floor(Math.log10(value)));
  return `$${value.toFixed(digits)}`;
}

export function rate(perSecond) {
  return perSecond < 10 ? perSecond.toFixed(1) : whole.format(Math.round(perSecond));
}

/** JSON indented; text that isn't JSON (or isn't yet) stays as it is. */
export function prettyJson(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** What tools return is often JSON, and often not text. */
export function prettyValue(value) {
  return typeof value === "string" ? prettyJson(value) : JSON.stringify(value, null, 2);
}
