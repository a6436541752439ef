// One question to the server. A token travels as a header, never in an address and never as a cookie, so no other site can
// make the browser send it.

const base = new URL(".", document.baseURI);

/** Below what address this page and its server are: it works below any prefix and any proxy. */
export const basePath = base.pathname;

export function urlOf(path) {
  return new URL(path, base);
}

/** `{ok, status, body}`: status 0 without an answer; body is its JSON, or null without any. */
export async function ask(method, path, { token = "", parameters = {}, body } = {}) {
  const url = urlOf(path);
  for (const [name, value] of Object.entries(parameters)) if (value !== null) url.searchParams.set(name, value);
  const headers = {};
  if (token !== "") headers["Authorization"] = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  try {
    const response = await fetch(url, { method, headers, body: body && JSON.stringify(body), cache: "no-store" });
    return { ok: response.ok, status: response.status, body: await response.json().catch(() => null) };
  } catch {
    return { ok: false, status: 0, body: null };
  }
}
