// What the pages need besides htmx: the title and the icon tell the state, a hidden tab asks
// nothing, and a page that can't be brought up to date says so. Everything works without it.
"use strict";

const live = () => document.getElementById("live");
// What there is to say of why the page is as it was: "lost" or "gone"; nothing if it is not.
const tell = (what) => {
  for (const each of ["lost", "gone"]) document.getElementById(each).hidden = each !== what;
};

// A button that is about to be pressed must not move, and a menu that is open must not close.
const AIMING_MS = 1000;
let moved = -AIMING_MS;
document.addEventListener("pointermove", () => { moved = performance.now(); }, { passive: true });
const isInUse = () =>
  performance.now() - moved < AIMING_MS || live().querySelector("details.act[open]") !== null;

document.addEventListener("htmx:before:request", (event) => {
  if (event.target.id === "live" && (document.hidden || isInUse())) event.preventDefault();
});

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && live()) htmx.trigger(live(), "jobqueue:look");
});

const told = () => {
  const root = live();
  if (document.title !== root.dataset.title) document.title = root.dataset.title;
  const icon = document.querySelector("link[rel=icon]");
  const file = `${icon.dataset.icons}${root.dataset.grade}.svg`;
  if (icon.getAttribute("href") !== file) icon.setAttribute("href", file);
};

// htmx tells of a swap also if the answer was an error, and nothing was put into the page.
document.addEventListener("htmx:after:swap", (event) => {
  if (event.detail.ctx.response.status >= 400) return;
  tell("");
  told();
});
document.addEventListener("htmx:error", () => tell("lost"));
document.addEventListener("htmx:response:error", (event) =>
  tell(event.detail.ctx.response.status >= 500 ? "lost" : "gone"));

// What an action has done is told once: an address that is passed on does not tell it again.
const here = new URL(location.href);
if (here.searchParams.has("did")) {
  here.searchParams.delete("did");
  here.searchParams.delete("n");
  history.replaceState(null, "", here);
}
