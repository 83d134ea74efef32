// Searching an index of photos: a sentence or a photo, and the photos that are nearest to it.

import { search, ServerError } from "./api.js";

const find = (id) => document.getElementById(id);
let abort = null; // of the search that is under way

/**
 * Searches by a sentence, or by the first of some files, and shows what was found.
 *
 * @param {string|File} example what to search by.
 * @param {number} limit the largest file, in bytes.
 * @param {(text: string) => void} say announces.
 */
export async function searchBy(example, limit, say) {
  abort?.abort();
  abort = new AbortController();
  const { signal } = abort;
  const isFile = typeof example !== "string";
  const what = isFile ? example.name || "the pasted photo" : `“${example}”`;
  find("found").hidden = false;
  find("found").setAttribute("aria-busy", "true");
  find("tiles").replaceChildren();
  find("search-error").textContent = "";
  find("found-state").textContent = `searching by ${what} …`;
  try {
    if (isFile && example.size > limit) {
      const most = Math.floor(limit / 2 ** 20);
      throw new ServerError(`${what} is larger than the limit of ${most} MiB`);
    }
    const { photos } = await search(example, find("count").value, signal);
    if (signal.aborted) return;
    find("tiles").append(...photos.map(tile));
    find("found-state").textContent = `Nearest to ${what}, the nearest first.`;
    say(`${photos.length} photos found; the nearest is ${photos[0]?.name}`);
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof ServerError)) throw error;
    find("found-state").textContent = "";
    find("search-error").textContent = error.message;
  }
  find("found").removeAttribute("aria-busy");
}

/** A photo that was found: its thumbnail, or why there is none. */
function tile({ number, name, similarity, problem }) {
  const made = find("photo-tile").content.firstElementChild.cloneNode(true);
  const image = made.querySelector("img");
  const why = made.querySelector(".no-preview");
  const missing = (reason) => {
    image.remove();
    why.textContent = reason;
    why.hidden = false;
  };
  made.querySelector(".name").textContent = name;
  made.querySelector(".similarity").textContent = `similarity ${similarity.toFixed(2)}`;
  image.alt = name;
  if (problem !== null) {
    missing(`${problem[0].toUpperCase()}${problem.slice(1)}.`);
    return made;
  }
  image.addEventListener("error", () => missing("This photo can’t be shown."));
  image.src = `api/photos/${number}`;
  return made;
}
