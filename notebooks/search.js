// Order of what the site's search finds: headings with all words of the question, guides, the rest, the changes.
var Scorer = {
  score: ([page, title, , , score, , kind]) => {
    const question = new URLSearchParams(location.search).get("q") ?? "";
    const words = question.toLowerCase().split(/\s+/).filter(Boolean), heading = title.toLowerCase();
    const answers = kind === "title" && words.length > 1 && words.every((word) => heading.includes(word));
    const place = { "guides/how_do_i": 4, "guides/architecture": -4, changes: -10 }[page] ?? (page.startsWith("guides/") ? 2 : 0);
    return score + place + (answers ? 30 : 0);
  },
  // What Sphinx has.
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
