// Brings the state to the page: one stream of server-sent events while the page is looked at, and a question every
// two seconds when the server has no stream to give, or gave its stream to a newer page. A hidden page gives it back.

import { get } from "./api.js";
import { urlOf } from "./request.js";

const POLL_MS = 2000;
const STREAM_AGAIN_MS = 30000;

export class Feed {
  #handlers;
  #source = null;
  #timers = [];

  /** handlers: state(state), history(history), sample(sample), mode("connecting" | "live" | "polling" | "lost"). */
  constructor(handlers) {
    this.#handlers = handlers;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#stop() : this.start()));
  }

  start() {
    this.#stop();
    this.#source = new EventSource(urlOf("v1/events"));
    this.#source.addEventListener("open", () => {
      this.#handlers.mode("live");
      this.#ask("v1/gpu-memory", this.#handlers.history);
    });
    this.#source.addEventListener("state", (event) => this.#handlers.state(JSON.parse(event.data)));
    this.#source.addEventListener("sample", (event) => this.#handlers.sample(JSON.parse(event.data)));
    this.#source.addEventListener("replaced", () => this.#poll());
    this.#source.addEventListener("error", () => {
      // CONNECTING: the browser tries again by itself. CLOSED: the stream was refused.
      if (this.#source.readyState === EventSource.CLOSED) this.#poll();
      else this.#handlers.mode("lost");
    });
  }

  /** Everything anew, now. Resolves to whether the server answered. */
  async refresh() {
    const answers = [this.#ask("v1/panel", this.#handlers.state), this.#ask("v1/gpu-memory", this.#handlers.history)];
    return (await Promise.all(answers)).every((answered) => answered);
  }

  #poll() {
    this.#stop();
    const ask = async () => this.#handlers.mode((await this.refresh()) ? "polling" : "lost");
    this.#timers = [setInterval(ask, POLL_MS), setTimeout(() => this.start(), STREAM_AGAIN_MS)];
    ask();
  }

  #stop() {
    this.#source?.close();
    for (const timer of this.#timers) clearInterval(timer);
    this.#timers = [];
  }

  async #ask(path, handler) {
    try {
      handler(await get(path));
      return true;
    } catch {
      return false;
    }
  }
}
