// What this browser keeps for the page. A browser may have no storage, or refuse it: then nothing is kept beyond the visit.

/** where: "localStorage", until somebody clears it, or "sessionStorage", for this tab only. Empty when nothing is kept. */
export function kept(where, key) {
  try {
    return window[where].getItem(key) ?? "";
  } catch {
    return "";
  }
}

export function keep(where, key, value) {
  try {
    window[where].setItem(key, value);
  } catch {
    // It holds for this visit.
  }
}
