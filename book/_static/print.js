/* A page is printed in the light theme, whatever the reader has chosen for the screen. In a block: what a script of
   the site declares outside of one, all scripts of the page share. */
{
  const root = document.documentElement;
  let screenTheme;
  window.addEventListener("beforeprint", () => {
    screenTheme = root.dataset.theme;
    root.dataset.theme = "light";
  });
  window.addEventListener("afterprint", () => {
    if (screenTheme) root.dataset.theme = screenTheme;
  });
}
