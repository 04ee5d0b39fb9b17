"use strict";
// Copy and CSV of every table; without JavaScript there are no buttons, and the tables are the same.
(() => {
  const rowsOf = (table) => [...table.rows].map((row) =>
    [...row.cells].map((cell) => cell.innerText.trim().replaceAll("−", "-").replaceAll(/\s+/g, " ")));
  const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const number = (text) => (/^-?\d{1,3}(,\d{3})+(\.\d+)?$/.test(text) ? text.replaceAll(",", "") : text);
  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  };
  document.querySelectorAll(".table").forEach((box) => {
    const table = box.querySelector("table");
    if (!table) return;
    const title = (box.querySelector(".gt_title")?.textContent ?? box.getAttribute("aria-label")).trim(), tools = document.createElement("div");
    box.setAttribute("aria-label", title);
    tools.className = "tools";
    const button = (text, act) => {
      const made = document.createElement("button");
      made.type = "button";
      made.textContent = text;
      made.setAttribute("aria-label", `${text}: ${title}`);
      made.addEventListener("click", async () => {
        await act();
        const say = (word) => { made.textContent = word; made.setAttribute("aria-label", `${word}: ${title}`); };
        say("done");
        setTimeout(say, 1200, text);
      });
      tools.append(made);
    };
    button("Copy", () => copy(rowsOf(table).map((row) => row.map(number).join("\t")).join("\n")));
    button("CSV", () => {
      const text = rowsOf(table).map((row) => row.map(number).map(quoted).join(",")).join("\n");
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob(["\ufeff", text, "\n"], { type: "text/csv" }));
      link.download = `${title.replaceAll(/[^\p{L}\p{N}]+/gu, "-").toLowerCase()}.csv`;
      link.click();
      URL.revokeObjectURL(link.href);
    });
    box.before(tools);
  });
})();
