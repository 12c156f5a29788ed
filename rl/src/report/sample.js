// The sample of answers: filters and sorts as `sapo view` does, over what stands in the page.
const PAGE = 20;
const sampled = asked => {
  const words = asked.words.toLowerCase();
  const holds = group => group.query_id.toLowerCase().includes(words)
    || [...group.answers, ...group.before ?? []].some(answer => answer.text.toLowerCase().includes(words));
  const fits = group => (!asked.file || group.source === asked.file) && (!asked.task || group.task === asked.task)
    && (asked.filter === "all" || group.marks.includes(asked.filter)) && (!words || holds(group));
  const chosen = sample.groups.filter(fits);
  const by = key => chosen.sort((one, other) => (key(one) ?? Infinity) - (key(other) ?? Infinity) || 0);
  const negative = value => value === null ? null : -value;
  if (asked.sort === "worst") by(group => group.reward);
  else if (asked.sort === "best") by(group => negative(group.reward));
  else if (asked.sort === "mixed") by(group => group.rate === null ? null : Math.abs(group.rate - 0.5));
  else if (asked.filter === "changed") by(group => -Math.abs(group.change));
  const compared = sample.groups.some(group => group.before);
  return {
    groups: chosen.slice(asked.page * PAGE, (asked.page + 1) * PAGE), fitting: chosen.length, all: sample.groups.length,
    pages: Math.ceil(chosen.length / PAGE), tasks: [...new Set(sample.groups.map(group => group.task))].sort(),
    note: asked.filter !== "changed" ? "" : compared ? "Both evaluations side by side, the largest change first."
      : "There are no two evaluations of the same queries to compare.",
  };
};
// What was chosen stays when `sapo view` renews the page.
window.chosen ??= {};
if (document.querySelector(".browser")) {
  const files = [{ file: "", label: "the whole sample" }, ...sample.sources.map(source => ({ file: source }))];
  browser(document.querySelector(".browser"), sampled, hash => addresses[hash], window.chosen)(files, 0);
}
