// What the model is for, by which the page speaks: the server says it, as tasks are named there.

const NOUNS = { vqa: "answer" };

export let task = "caption";
export let noun = "caption"; // what the model gives of a photo

/** Shows what is for a task, and hides what is for others: elements name theirs in data-task. */
export function setTask(name) {
  task = name;
  noun = NOUNS[name] ?? "caption";
  const known = name === "vqa" || name === "contrastive" ? name : "caption";
  for (const element of document.querySelectorAll("[data-task]")) {
    element.hidden = !element.dataset.task.split(" ").includes(known);
  }
}
