/* A page is printed in the light theme, whatever the reader has chosen for the screen. */
const root = document.documentElement;
let chosen;
window.addEventListener("beforeprint", () => {
  chosen = root.dataset.theme;
  root.dataset.theme = "light";
});
window.addEventListener("afterprint", () => {
  if (chosen) root.dataset.theme = chosen;
});
