// What the pages need besides htmx: the title and the icon tell the state, a hidden tab asks
// nothing, and a page that can't be brought up to date says so. Everything works without it.
"use strict";

const live = () => document.getElementById("live");
const lost = (is) => { document.getElementById("lost").hidden = !is; };

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

document.addEventListener("htmx:after:swap", () => { lost(false); told(); });
document.addEventListener("htmx:error", () => lost(true));
document.addEventListener("htmx:response:error", () => lost(true));

// What an action has done is told once: an address that is passed on does not tell it again.
const here = new URL(location.href);
if (here.searchParams.has("did")) {
  here.searchParams.delete("did");
  here.searchParams.delete("n");
  history.replaceState(null, "", here);
}
