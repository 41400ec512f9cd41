// Whether the kernel still knows a widget. A kernel that was restarted or shut down forgets it: the widget stays in
// the page, but nothing that is done with it arrives anywhere, and nobody else says so.

import { element } from "./board.js";

// On a widget without a connection; in a page that has no kernel, from the start: there nothing is to be said.
const APART = "jupyter-widgets-disconnected";

// what: the widget's name in a sentence. Gives notice, an element to show, empty while all is well; forgotten;
// look(), to be called whenever something is done; onForgotten, to be set; and stop().
export function kernelOf({ model, el }, what) {
  const notice = element("p", { class: "oe-forgotten", role: "alert" });
  const idNow = () => model.widget_manager?.kernel?.id;
  const known = !el.classList.contains(APART), id = idNow();
  const isApart = () => el.classList.contains(APART) && (known || idNow() !== undefined);
  const isAnother = () => id !== undefined && idNow() !== id;
  const kernel = {
    notice,
    forgotten: false,
    onForgotten() {},
    look() {
      if (!kernel.forgotten && (isApart() || isAnother())) kernel.forget();
    },
    forget() {
      const cell = model.get("cell") ? `cell [${model.get("cell")}], which made it,` : "the cell that made it";
      kernel.forgotten = true;
      notice.textContent = `The kernel ${known ? `has forgotten this ${what}: it was restarted or shut down` : `does not know this ${what}`}. `
        + `Run ${cell} again, and before it the cells that it needs. Until then nothing that is done here reaches the kernel.`;
      kernel.onForgotten();
    },
    reason: `The kernel does not know this ${what}`,
    // Throws an Error where there is nobody to send to.
    send(content) {
      if (!kernel.forgotten) {
        try {
          return model.send(content);
        } catch {
          kernel.forget();
        }
      }
      throw new Error(kernel.reason);
    },
    stop() { model.off("comm_live_update", kernel.look); },
  };
  model.on("comm_live_update", kernel.look);
  kernel.look();
  return kernel;
}
