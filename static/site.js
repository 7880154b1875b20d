/* What scripts add to pages that work without them: copy buttons, the progress of
   an upload, open logs that stay open, the focus after a page was put in place, the quick switcher,
   and a form that sends itself. */
"use strict";

function prepare(root) {
  for (const button of root.querySelectorAll("button.copy[hidden]")) button.hidden = false;
}

/* What is wrong first, then what is to be typed, else the page. */
function focusWhatMatters() {
  const wanted = ["[aria-invalid]", "#form-error", "[autofocus]", "main"];
  const target = wanted.map((one) => document.querySelector(one)).find(Boolean);
  target?.focus({ preventScroll: target.id === "main" });
}

async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(source.textContent);
  } catch {
    const range = document.createRange(); /* plain http: no clipboard, so select it */
    range.selectNodeContents(source);
    const selection = window.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    if (!document.execCommand("copy")) {
      button.textContent = "Selected";
      return;
    }
  }
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = label; }, 1500);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button.copy");
  if (button) copy(button);
});

/* An upload by hand: only so is its progress known. The answer is shown as the browser would. */
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.dataset.progress) return;
  event.preventDefault();
  const bar = document.getElementById(form.dataset.progress);
  const button = form.querySelector("button.primary");
  const request = new XMLHttpRequest();
  bar.hidden = false;
  button.disabled = true;
  request.upload.onprogress = (sent) => { if (sent.lengthComputable) bar.value = sent.loaded / sent.total; };
  request.onload = () => {
    if (request.status < 300) {
      location.assign(request.responseURL);
      return;
    }
    const page = new DOMParser().parseFromString(request.responseText, "text/html");
    document.title = page.title;
    document.querySelector("main").replaceWith(page.querySelector("main"));
    window.htmx.process(document.querySelector("main"));
    prepare(document);
    focusWhatMatters();
  };
  request.onerror = () => {
    bar.hidden = true;
    button.disabled = false;
    let words = document.getElementById("upload-failed");
    if (!words) {
      words = document.createElement("p");
      words.id = "upload-failed";
      words.className = "notice bad";
      words.setAttribute("role", "alert");
      form.before(words);
    }
    words.textContent = "The connection broke before the file had arrived, or the server refused it. Nothing was changed; try again.";
  };
  request.open("POST", form.action);
  request.send(new FormData(form));
});

/* A part that renews itself keeps what the reader had opened. */
let opened = [];
document.addEventListener("htmx:beforeSwap", (event) => {
  opened = [...event.detail.target.querySelectorAll("details[open][id]")].map((one) => one.id);
});
document.addEventListener("htmx:afterSettle", (event) => {
  for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
  opened = [];
  prepare(document);
  if (event.detail.boosted || event.detail.requestConfig?.boosted) {
    focusWhatMatters();
  }
});

/* The quick switcher: Ctrl-K (or Command-K), and arrows through what it lists. */
function openGoals(event, goals) {
  event.preventDefault();
  const field = goals.querySelector("input");
  if (!goals.open) goals.showModal();
  field.select();
  window.htmx.trigger(field, "open");
}

document.addEventListener("keydown", (event) => {
  const goals = document.getElementById("goals");
  if (!goals) return;
  if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey) && !event.altKey) {
    openGoals(event, goals);
    return;
  }
  if (!goals.open || (event.key !== "ArrowDown" && event.key !== "ArrowUp")) return;
  event.preventDefault();
  const stops = [goals.querySelector("input"), ...goals.querySelectorAll(".goal-list a")];
  const step = event.key === "ArrowDown" ? 1 : stops.length - 1;
  stops[(stops.indexOf(document.activeElement) + step) % stops.length].focus();
});

/* Return takes the first goal: what was typed is most often the beginning of its name. */
document.addEventListener("submit", (event) => {
  const first = event.target.closest("#goals") && document.querySelector(".goal-list a");
  if (!first) return;
  event.preventDefault();
  event.stopPropagation();
  first.click();
}, true);
document.addEventListener("click", (event) => {
  const goals = document.getElementById("goals");
  if (goals && event.target.closest("[data-goals]") && !event.ctrlKey && !event.metaKey) {
    event.stopPropagation();
    openGoals(event, goals);
    return;
  }
  if (goals?.open && (event.target === goals || event.target.closest(".goal-list a"))) goals.close();
}, true);

prepare(document);
/* Before the page is wholly loaded, so that going back does not come here again. */
document.querySelector("form[data-submit]")?.submit();
