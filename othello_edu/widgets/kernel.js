// The connection of a widget to its kernel. A kernel that was restarted or shut down forgets the widget: it stays in
// the page, but nothing that is done with it reaches the kernel, and neither Jupyter nor anywidget says so.

import { element } from "./board.js";

// widgetName: the widget's name in a sentence. Gives
//   notice       an element to show, empty while the kernel knows the widget
//   forgotten    whether it has forgotten it; onForgotten: called when it has, to be set
//   check()      finds out; to be called whenever something is done with the widget
//   send(content), stop()
export function connectKernel(model, widgetName) {
  const notice = element("p", { class: "oe-forgotten", role: "alert" });
  const currentId = () => model.widget_manager?.kernel?.id; // undefined in a page without a kernel
  const id = currentId();
  const showNotice = () => {
    const cell = model.get("cell") ? `cell [${model.get("cell")}], which made it,` : "the cell that made it";
    connection.forgotten = true;
    notice.textContent = `The kernel has forgotten this ${widgetName}: it was restarted or shut down. Run ${cell} again, and `
      + "before it the cells that it needs. Until then nothing that is done here reaches the kernel.";
    connection.onForgotten();
  };
  const markForgotten = () => model.set("forgotten", true); // in the page alone, for all views of the widget, later ones too
  const connection = {
    notice,
    forgotten: false,
    reason: `The kernel has forgotten this ${widgetName}`,
    onForgotten() {},
    check() { if (id !== undefined && currentId() !== id) markForgotten(); },
    // Throws an Error where no kernel receives it.
    send(content) {
      if (!connection.forgotten) {
        try {
          return model.send(content);
        } catch {
          markForgotten();
        }
      }
      throw new Error(connection.reason);
    },
    stop() {
      model.off("comm_live_update", markForgotten);
      model.off("change:forgotten", showNotice);
    },
  };
  model.on("comm_live_update", markForgotten); // a live connection only ever changes to a dead one, when the kernel restarts
  model.on("change:forgotten", showNotice);
  if (model.get("forgotten")) showNotice();
  return connection;
}
