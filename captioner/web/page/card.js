// One photo on the page: its picture, its captions, and the words that show where the model looked.

import { EVERYWHERE, draw, place, wordsWithMaps } from "./maps.js";
import { noun } from "./task.js";

const AMOUNT = new Intl.NumberFormat("en", {
  notation: "compact", compactDisplay: "long", maximumSignificantDigits: 2,
});
let count = 0;

export class Card {
  /**
   * @param {File} file the photo.
   * @param {(card: Card) => void} removed is called when the user has taken it away.
   * @param {(text: string) => void} say announces.
   */
  constructor(file, removed, say) {
    this.file = file;
    this.name = file.name || "pasted photo";
    this.say = say;
    this.pinned = null; // the word whose map stays
    this.element = fromTemplate("photo-card");
    const heading = this.find("h3");
    heading.textContent = this.name;
    heading.id = `photo-${++count}`;
    this.find("article").setAttribute("aria-labelledby", heading.id);
    this.picture = this.find(".picture");
    this.image = this.find("img");
    this.url = URL.createObjectURL(file);
    this.image.addEventListener("error", () => {
      this.image.hidden = true;
      this.element.classList.add("unseeable");
      this.find(".no-preview").hidden = false;
    });
    this.image.src = this.url;
    const remove = this.find(".remove");
    remove.setAttribute("aria-label", `Remove ${this.name}`);
    remove.addEventListener("click", () => {
      URL.revokeObjectURL(this.url);
      removed(this);
    });
    this.captions = this.find(".captions");
    this.followWords();
  }

  find(selector) {
    return this.element.querySelector(selector);
  }

  /** Says what is going on, in place of captions. */
  wait(text) {
    this.clear();
    this.find(".state").textContent = text;
    this.element.setAttribute("aria-busy", "true");
  }

  /** Says what is needed first, in place of captions. */
  need(text) {
    this.clear();
    this.find(".state").textContent = text;
  }

  /** Shows why there is no caption. */
  fail(reason) {
    this.clear();
    const error = this.find(".error");
    error.textContent = reason;
    error.hidden = false;
    this.element.classList.add("failed");
    this.say(`${this.name}: ${reason}`);
  }

  /** Says that no caption is sure enough: how sure the surest was, and had to be. */
  keepSilent(sure, least) {
    // Rounded down: 69.9 % must not look like the 70 % that were asked for.
    const silence = "Not sure enough to say what this photo shows: its best caption is "
      + `${Math.floor(100 * sure)} % sure of the main thing, and this server asks for `
      + `${+(100 * least).toFixed(1)} %.`;
    this.clear();
    this.find(".state").textContent = silence;
    this.say(`${this.name}: ${silence}`);
  }

  /** Shows captions, the best first, as the API gives them. */
  show(captions) {
    this.clear();
    captions.forEach((caption, index) => this.captions.append(this.row(caption, index, captions)));
    this.image.alt = captions[0].text;
    this.find(".looked").hidden = false;
    this.look(null);
    this.say(`${this.name}: ${captions.map(heard).join("; ")}`);
  }

  clear() {
    this.element.removeAttribute("aria-busy");
    this.element.classList.remove("failed");
    this.find(".state").textContent = "";
    this.find(".error").hidden = true;
    this.find(".looked").hidden = true;
    this.captions.replaceChildren();
    this.image.alt = "";
    this.pinned = null;
    this.words = new Map();
    this.picture.classList.remove("mapped");
  }

  row({ text, log_prob, confidence, tokens, attention }, index, all) {
    const row = fromTemplate("caption-row");
    const words = wordsWithMaps(tokens, attention);
    const keys = words.map((word, position) => {
      const key = `${index}.${position}`;
      this.words.set(key, { ...word, place: place(word.map) });
      return key;
    });
    row.querySelector(".text").append(...hoverable(text, keys));
    const known = confidence !== undefined;
    row.querySelector(".sure").textContent = known ? sureOf(confidence) : "";
    // Two probabilities side by side, so each says of what it is.
    row.querySelector(".odds").textContent = known
      ? `these very words: ${chance(log_prob)}` : `probability ${chance(log_prob)}`;
    const copy = row.querySelector(".copy");
    copy.addEventListener("click", () => this.copy(copy, text));
    const toolbar = row.querySelector(".words");
    toolbar.setAttribute("aria-label", "Words; use the arrow keys");
    toolbar.append(...keys.map((key, position) => this.button(key, position)));
    const where = row.querySelector(".where");
    where.hidden = words.length === 0;
    const open = (yes) => {
      toolbar.hidden = !yes;
      where.setAttribute("aria-expanded", yes);
    };
    where.addEventListener("click", () => open(toolbar.hidden));
    open(index === 0 && words.length > 0);
    if (all.length > 1) {
      copy.setAttribute("aria-label", `Copy ${noun} ${index + 1}`);
      where.setAttribute("aria-label", `Where it looked for ${noun} ${index + 1}`);
    }
    return row;
  }

  button(key, position) {
    const { text, place } = this.words.get(key);
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.word = key;
    button.tabIndex = position === 0 ? 0 : -1;
    button.setAttribute("aria-pressed", "false");
    // So that the explanation is heard, too.
    button.setAttribute("aria-label", `${text}: ${place}`);
    button.textContent = text;
    return button;
  }

  /** Moving over a word, or to it with the keyboard, shows its map; a click keeps it. */
  followWords() {
    const keyOf = (event) => event.target.closest?.("[data-word]")?.dataset.word ?? null;
    this.captions.addEventListener("mouseover", (event) => this.look(keyOf(event)));
    this.captions.addEventListener("mouseleave", () => this.look(null));
    this.captions.addEventListener("focusin", (event) => this.look(keyOf(event)));
    this.captions.addEventListener("focusout", () => this.look(null));
    this.captions.addEventListener("click", (event) => {
      const key = keyOf(event);
      if (key !== null) this.pin(key === this.pinned ? null : key);
      this.look(key);
    });
    this.captions.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        this.pin(null);
        this.look(null);
      } else if (event.target.parentElement?.getAttribute("role") === "toolbar") {
        move(event);
      }
    });
  }

  pin(key) {
    this.pinned = key;
    for (const button of this.captions.querySelectorAll("button[data-word]")) {
      button.setAttribute("aria-pressed", button.dataset.word === key);
    }
  }

  /** Shows a word's map, or that of the one that is kept, or none. */
  look(key) {
    key ??= this.pinned;
    const word = this.words?.get(key);
    for (const one of this.captions.querySelectorAll("[data-word]")) {
      one.classList.toggle("shown", one.dataset.word === key);
    }
    this.picture.classList.toggle("mapped", Boolean(word));
    this.find(".looked").textContent = word
      ? `For “${word.text}” the model looked ${lookedAt(word.place)}.`
      : "Move over a word to see where the model looked.";
    if (word) draw(this.find("canvas"), word.map);
  }

  async copy(button, text) {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
      this.say("Copied");
    } catch {
      // Without a secure connection browsers lend no clipboard: the text is selected instead.
      getSelection().selectAllChildren(button.closest(".caption").querySelector(".text"));
      button.textContent = "Selected";
      this.say(`The ${noun} is selected; copy it with the keyboard`);
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  }
}

/** Arrow keys, Home and End move between the words of a toolbar, which is one stop of Tab. */
function move(event) {
  const words = [...event.target.parentElement.children];
  const here = words.indexOf(event.target);
  const target = {
    ArrowRight: here + 1, ArrowDown: here + 1, ArrowLeft: here - 1, ArrowUp: here - 1,
    Home: 0, End: words.length - 1,
  }[event.key];
  if (target === undefined) return;
  event.preventDefault();
  const next = words[(target + words.length) % words.length];
  event.target.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

/** A caption whose words can be pointed at, still one text for selecting and reading aloud. */
function hoverable(text, keys) {
  const words = text.split(" ");
  // A beginning may be spelled otherwise than the model reads it.
  if (words.length !== keys.length) return [text];
  return words.flatMap((word, index) => {
    const span = document.createElement("span");
    span.dataset.word = keys[index];
    span.textContent = word;
    return index ? [" ", span] : [span];
  });
}

function lookedAt(place) {
  return place === EVERYWHERE ? place : `most at the ${place}`;
}

/** A probability, as people say it: 34 %, 1 in 12 thousand. */
function chance(logProb) {
  const probability = Math.exp(logProb);
  if (probability >= 0.1) return `${Math.round(100 * probability)} %`;
  return `1 in ${AMOUNT.format(1 / probability)}`;
}

/** How sure the model is, as people say it: no finer than it was measured, and never certain. */
function sureOf(confidence) {
  const shown = Math.min(Math.max(5 * Math.round(20 * confidence), 1), 99);
  return `about ${shown} % sure of the main thing`;
}

/** A caption as it is announced. */
function heard({ text, confidence }) {
  return confidence === undefined ? text : `${text}, ${sureOf(confidence)}`;
}

function fromTemplate(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}
