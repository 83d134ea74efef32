// The page: takes photos in, asks for their captions or answers, or searches by them; keeps the
// user told.

import { about, caption, ServerError } from "./api.js";
import { Card } from "./card.js";
import { searchBy } from "./search.js";
import { noun, setTask, task } from "./task.js";

const AT_ONCE = 4; // browsers open six connections to a server
const KEPT_WORDS = 50;

const find = (id) => document.getElementById(id);
const cards = [];
const waiting = [];
let asking = 0;
let limit = Infinity;
let least = null; // the confidence below which the server keeps silent

function say(text) {
  const line = document.createElement("p");
  line.textContent = text;
  const said = find("said");
  said.append(line);
  while (said.children.length > KEPT_WORDS) said.firstElementChild.remove();
}

/** Takes files that were chosen, dropped or pasted. */
function take(files) {
  if (!files.length) return;
  if (task === "contrastive") searchBy(files[0], limit, say);
  else add(files);
}

function add(files) {
  const made = [...files].map((file) => new Card(file, remove, say));
  cards.push(...made);
  find("photos").append(...made.map((card) => card.element));
  const what = made.length === 1 ? made[0].name : `${made.length} photos`;
  say(noun === "answer" ? `looking at ${what}` : `captioning ${what}`);
  made.forEach(ask);
}

function remove(card) {
  card.abort?.abort();
  const index = cards.indexOf(card);
  cards.splice(index, 1);
  card.element.remove();
  say(`${card.name} removed`);
  report();
  // The keyboard goes on where it was.
  const next = cards[Math.min(index, cards.length - 1)];
  (next ? next.find(".remove") : find("files")).focus();
}

function wish() {
  return { prompt: find("prompt").value.trim(), captions: find("captions").value };
}

function ask(card) {
  card.abort?.abort();
  if (task === "vqa" && !wish().prompt) {
    card.need("Type a question about the photo above, and press Ask.");
    card.done = true;
    find("prompt").focus();
    report();
    return;
  }
  card.abort = new AbortController();
  card.done = false;
  card.wait("waiting for its turn");
  const { signal } = card.abort;
  waiting.push({ card, signal, wish: wish() });
  report();
  work();
}

async function work() {
  while (asking < AT_ONCE && waiting.length) {
    const next = waiting.shift();
    if (next.signal.aborted) continue;
    asking++;
    answer(next).finally(() => {
      asking--;
      work();
    });
  }
}

async function answer({ card, signal, wish }) {
  if (card.file.size > limit) {
    const size = Math.ceil(card.file.size / 2 ** 20);
    card.fail(`the file has ${size} MiB; the limit is ${Math.floor(limit / 2 ** 20)} MiB`);
  } else {
    card.wait("looking at the photo …");
    try {
      const { captions, left_out } = await caption(card.file, wish, signal);
      if (signal.aborted) return;
      if (left_out === undefined) card.show(captions);
      else card.keepSilent(left_out, least);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ServerError)) throw error;
      card.fail(error.message);
    }
  }
  card.done = true;
  report();
}

function report() {
  const done = cards.filter((card) => card.done).length;
  find("results").hidden = find("again").hidden = cards.length === 0;
  find("order").hidden = !document.querySelector(".caption + .caption");
  find("meaning").hidden = !document.querySelector(".sure:not(:empty)");
  find("progress").textContent = done < cards.length ? `${done} of ${cards.length} done` : "";
}

function takeDrops() {
  const root = document.documentElement;
  const dragsFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!dragsFiles(event)) return;
    event.preventDefault();
    root.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) root.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    root.classList.remove("dropping");
    if (!dragsFiles(event)) return;
    event.preventDefault();
    take(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => {
    if (!event.clipboardData?.files.length) return; // text goes where the cursor is
    event.preventDefault();
    take(event.clipboardData.files);
  });
}

/** How sure a caption is isn't known of captions with a prompt. */
function takeNoPrompts() {
  find("prompt").value = "";
  find("prompt").disabled = true;
  find("prompt-help").textContent = "This server says only what it is sure enough of. It knows "
    + "that of captions without a prompt, so it takes none.";
}

async function introduce() {
  const model = await about((known) => {
    if (known) setTask(known);
    const ready = known === "contrastive" ? "" : " Photos can be chosen already.";
    find("loading").textContent = `The model is being loaded.${ready}`;
  });
  setTask(model.task);
  find("loading").textContent = "";
  limit = model.limits.upload_bytes;
  least = model.min_confidence ?? null;
  if (least !== null) takeNoPrompts();
  const each = task === "contrastive" ? "" : " each";
  for (const element of document.querySelectorAll(".limits")) {
    element.textContent = `Up to ${Math.floor(limit / 2 ** 20)} MiB${each}.`;
  }
  if (task === "contrastive") {
    const count = model.photos.toLocaleString("en");
    find("model").textContent = `Model: ${model.name}; ${count} photos.`;
    return;
  }
  find("model").textContent = `Model: ${model.name}.`;
  const choices = Array.from({ length: model.beams }, (_, index) => new Option(index + 1));
  find("captions").replaceChildren(...choices);
}

for (const id of ["files", "example"]) {
  find(id).addEventListener("change", (event) => {
    take([...event.target.files]);
    event.target.value = ""; // the same file may be chosen again
  });
}
find("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const sentence = find("sentence").value.trim();
  if (sentence) searchBy(sentence, limit, say);
  else find("sentence").focus();
});
find("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  cards.forEach(ask);
});
takeDrops();
introduce().catch((error) => {
  find("trouble").textContent = error.message;
});
