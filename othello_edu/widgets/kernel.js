// Whether the kernel still knows a widget. A kernel that was restarted or shut down forgets it: the widget stays in
// the page, but nothing that is done with it arrives anywhere, and nobody else says so.

import { element } from "./board.js";

// what: the widget's name in a sentence. Gives notice, an element to show, empty while all is well; forgotten;
// look(), to be called whenever something is done; onForgotten, to be set; send(content); and stop().
export function kernelOf(model, what) {
  const notice = element("p", { class: "oe-forgotten", role: "alert" });
  const idNow = () => model.widget_manager?.kernel?.id; // undefined in a page without a kernel
  const id = idNow();
  const show = () => {
    const cell = model.get("cell") ? `cell [${model.get("cell")}], which made it,` : "the cell that made it";
    kernel.forgotten = true;
    notice.textContent = `The kernel has forgotten this ${what}: it was restarted or shut down. Run ${cell} again, and `
      + "before it the cells that it needs. Until then nothing that is done here reaches the kernel.";
    kernel.onForgotten();
  };
  const forget = () => model.set("forgotten", true); // in the page alone, for all views of the widget, later ones too
  const kernel = {
    notice,
    forgotten: false,
    reason: `The kernel has forgotten this ${what}`,
    onForgotten() {},
    look() { if (id !== undefined && idNow() !== id) forget(); },
    // Throws an Error where there is nobody to send to.
    send(content) {
      if (!kernel.forgotten) {
        try {
          return model.send(content);
        } catch {
          forget();
        }
      }
      throw new Error(kernel.reason);
    },
    stop() {
      model.off("comm_live_update", forget);
      model.off("change:forgotten", show);
    },
  };
  model.on("comm_live_update", forget); // a live connection only ever changes to a dead one, when the kernel restarts
  model.on("change:forgotten", show);
  if (model.get("forgotten")) show();
  return kernel;
}
