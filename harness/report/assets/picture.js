"use strict";
/* Makes a picture larger or smaller inside its scrolling frame; without this script it stands at its own size. */

(function () {
  const LEAST = 0.4, MOST = 4;
  for (const button of document.querySelectorAll(".picture [data-scale]")) {
    button.addEventListener("click", () => {
      const picture = button.closest(".picture").querySelector("svg");
      const [, , width, height] = picture.getAttribute("viewBox").split(" ").map(Number);
      const now = Number(picture.getAttribute("width")) / width;
      const scale = Math.min(MOST, Math.max(LEAST, now * Number(button.dataset.scale)));
      picture.setAttribute("width", String(Math.round(width * scale)));
      picture.setAttribute("height", String(Math.round(height * scale)));
    });
  }
})();
