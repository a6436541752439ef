// The four figures that somebody looks for first. What is saved goes on while nothing happens, so it is counted on
// from the server's last word: released bytes × the time since, which is exactly how the server counts.

import { el, setText } from "./dom.js";
import { bytes, clock, gibHours, number } from "./format.js";
import { t } from "./i18n.js";
import { gpu } from "./words.js";

const list = document.getElementById("tiles");
const tiles = ["released", "saved", "models", "host"].map((name) => {
  const [label, value, note] = [el("dt"), el("dd", { class: "figure" }), el("dd", { class: "soft" })];
  list.append(el("div", { class: "tile", "data-tile": name }, label, value, note));
  return { label, value, note };
});

export function showTiles(state, now) {
  const sum = (of) => state.models.reduce((total, model) => total + of(model), 0);
  const releasedNow = sum((model) => model.releasedBytes);
  const saved = sum((model) => savedBy(model, state, now));
  const awake = state.models.filter((model) => model.residency === "GPU").length;
  const figures = [
    [t("tileReleased"), bytes(releasedNow), releasedNote(state.device)],
    [t("tileSaved"), t("gibHours", { value: gibHours(saved) }), t("tileSavedNote", { time: clock(state.startedAt) })],
    [t("tileModels", { gpu: gpu(state.device) }), number(awake), t("tileModelsNote", { total: state.models.length })],
    [t("tileHost"), bytes(sum((m) => m.hostMemoryBytes)), t("tileHostNote", { room: bytes(state.hostRoomBytes) })],
  ];
  tiles.forEach((tile, index) => {
    const [label, value, note] = figures[index];
    setText(tile.label, label);
    setText(tile.value, value);
    setText(tile.note, note);
  });
}

function releasedNote({ totalBytes }) {
  return totalBytes === null ? t("tileReleasedNoteAlone") : t("tileReleasedNote", { total: bytes(totalBytes) });
}

export function savedBy(model, state, now) {
  return model.savedByteSeconds + model.releasedBytes * Math.max(0, now - state.now);
}
