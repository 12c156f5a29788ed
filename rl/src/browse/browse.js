// Cards of answers, query by query, with what is chosen among them. `from` gives the page that is asked for, `pictureOf` the
// address of a picture, and `kept` is what was chosen before.
const browser = (root, from, pictureOf, kept) => {
  const at = name => root.querySelector("[name=" + name + "]");
  const one = name => root.querySelector("." + name);
  const made = (name, facts = {}, ...inside) => {
    const part = document.createElement(name);
    for (const [key, value] of Object.entries(facts)) key === "text" ? part.textContent = value : part.setAttribute(key, value);
    part.append(...inside.filter(one => one !== null));
    return part;
  };
  // The name of SVG's elements, without an address in the page.
  const drawing = Object.assign(document.createElement("template"), { innerHTML: "<svg></svg>" }).content.firstChild.namespaceURI;
  const svgOf = (name, facts) => {
    const part = document.createElementNS(drawing, name);
    for (const [key, value] of Object.entries(facts)) part.setAttribute(key, value);
    return part;
  };
  const percent = share => Math.round(share * 100) + " %";
  // Boxes and points in thousandths of the picture, as the model gives them.
  const places = text => [...text.matchAll(/"(?:bbox_2d|point_2d)"\s*:\s*\[([-\d.,\s]+)\]/g)].map(found => found[1].split(",").map(Number));
  const drawn = (list, kind) => list.map(place => place.length === 4
    ? svgOf("rect", { class: kind, x: place[0], y: place[1], width: place[2] - place[0], height: place[3] - place[1] })
    : svgOf("circle", { class: kind, cx: place[0], cy: place[1], r: 14 }));
  const pictures = group => (group.query.images ?? []).map((image, place) => {
    const address = pictureOf(typeof image === "string" ? image : image.sha256 ?? image.hash ?? "");
    if (address === undefined) return made("p", { class: "small", text: "(a picture is left out)" });
    const frame = made("div", { class: "shown" }, made("img", { src: address, alt: "picture of the query", loading: "lazy" }));
    if (place === 0) {
      const over = svgOf("svg", { viewBox: "0 0 1000 1000", preserveAspectRatio: "none", role: "img" });
      const [gold, spoken] = [group.query.truth?.boxes ?? [], group.answers.flatMap(answer => places(answer.text))];
      over.append(...drawn(gold, "gold"), ...drawn(spoken, "spoken"));
      if (over.childNodes.length) {
        frame.append(over);
        return made("div", {}, frame, made("p", { class: "small", text: "solid: the truth; dashed: answers" }));
      }
    }
    return frame;
  });
  const verdict = passed => passed === null || passed === undefined ? made("span", { class: "unscored", text: "? not scored" })
    : passed ? made("span", { class: "pass", text: "\u2713 pass" }) : made("span", { class: "fail", text: "\u2717 fail" });
  // What tokens are coloured by: where its number stands, how strong it is (0 to 1), and what a legend says of it.
  const colours = {
    log_prob: {
      name: "log-prob", place: 1, look: "--s1", strength: value => Math.min(-value / 5, 1),
      scale: [0, -1, -2, -3, -4, -5], said: "log-prob when it was sampled; the stronger, the less likely (full from \u22125)",
      absent: answer => answer.tokens_left_out ? "too long for this page; `sapo view` colours it"
        : "no log-probs are recorded; those of training are",
    },
    gate: {
      name: "gate", place: 2, look: "--s3", strength: value => Math.max(0, Math.min((Math.log10(Math.max(1 - value, 1e-9)) + 5) / 5, 1)),
      scale: [1, 0.9999, 0.999, 0.99, 0.9, 0], said: "SAPO gate of the token in its update: the share of the plain policy gradient that was left; none where it is 1, each step of colour is ten times as far from 1",
      absent: answer => answer.tokens_left_out ? "too long for this page; `sapo view` colours it"
        : answer.tokens === undefined ? "no gate: none is computed outside training, and none is recorded here"
        : answer.in_loss === false || answer.in_loss === undefined ? "no gate: this answer was not trained on"
        : "no gate is recorded: the algorithm has none, `log.gate_share` left this answer out, or an earlier version wrote it",
    },
  };
  const tinted = (colour, value, facts) => {
    const part = made("span", { class: "token", ...facts });
    part.style.backgroundColor = "color-mix(in srgb, var(" + colour.look + ") " + Math.round(colour.strength(value) * 60) + "%, transparent)";
    return part;
  };
  const spoken = answer => {
    const colour = colours[at("colour").value];
    const text = made("p", { class: "text" });
    if (!colour) { text.textContent = answer.text || "(empty)"; return [text]; }
    const known = (answer.tokens ?? []).filter(token => token[colour.place] !== undefined);
    if (known.length === 0) {
      text.textContent = answer.text || "(empty)";
      return [text, made("p", { class: "judged", text: colour.absent(answer) })];
    }
    for (const token of answer.tokens) {
      const value = token[colour.place];
      if (value === undefined) { text.append(token[0]); continue; }
      const title = "log-prob " + token[1].toFixed(3) + (token[2] === undefined ? "" : ", gate " + token[2]);
      text.append(tinted(colour, value, { text: token[0], title }));
    }
    const least = known.reduce((best, token) => token[colour.place] < best[colour.place] ? token : best);
    const mean = known.reduce((sum, token) => sum + token[colour.place], 0) / known.length;
    if (colour.place === 2 && least[2] === 1) {
      return [text, made("p", { class: "judged", text: "gate 1 throughout: this answer was trained on before the first update of its step, or its tokens have not moved" })];
    }
    const digits = colour.place === 2 ? 4 : 2;
    return [text, made("p", { class: "judged", text: colour.name + " of " + known.length + " tokens: mean " + mean.toFixed(digits) + ", least " + least[colour.place].toFixed(digits) + " (`" + least[0] + "`)" })];
  };
  const noted = ([name, part]) => {
    const value = part.value ?? (part.failed ? "failed: " + part.failed.message : part.skipped ?? part.skip ?? "none");
    const weight = part.weight !== undefined && part.weight !== 1 ? " \u00d7 " + part.weight : "";
    const rule = part.metrics?.rule === undefined ? null : "the exact rule says " + (part.metrics.rule >= 0.5 ? "right" : "wrong");
    const note = [part.extracted !== undefined ? "`" + part.extracted + "`" : null, part.evidence, rule].filter(Boolean).join("; ");
    return made("li", { text: name + " " + (typeof value === "number" ? value.toFixed(2) : value) + weight + (note ? ": " + note : "") });
  };
  const answered = answer => {
    const score = answer.score ?? {};
    const given = value => value !== null && value !== undefined;
    const facts = [answer.greedy ? "greedy" : null, given(score.total) ? "reward " + score.total.toFixed(2) : null,
      given(answer.advantage) ? "advantage " + answer.advantage.toFixed(2) : null,
      answer.in_loss === false ? "not in the loss" : null, answer.stop === "length" ? "cut by the token limit" : null].filter(Boolean);
    return made("div", { class: "answer" }, ...spoken(answer),
      made("p", { class: "judged" }, verdict(score.passed), facts.length ? " \u00b7 " + facts.join(" \u00b7 ") : ""),
      made("ul", { class: "parts" }, ...Object.entries(score.parts ?? {}).map(noted)));
  };
  const tagged = group => {
    const now = group.rate === null ? "" : ", " + percent(group.rate) + " right";
    if (group.change === null || group.change === undefined) return group.task + now;
    const by = Math.round(group.change * 100) / 100;
    return group.task + (group.rate_before === null || group.rate === null ? ", reward " + (by > 0 ? "+" : "") + by
      : ", " + percent(group.rate_before) + " \u2192 " + percent(group.rate) + " right");
  };
  const shown = (group, found) => {
    const truth = group.query.truth;
    const answers = list => made("div", { class: "answers" }, ...list.map(answered));
    const side = (title, list) => made("div", { class: "side" }, made("h4", { text: title }), answers(list));
    return made("section", { class: "card group" },
      made("div", { class: "asked" }, ...pictures(group), made("div", {},
        made("span", { class: "tag" + (group.change > 0 ? " gained" : group.change < 0 ? " lost" : ""), text: tagged(group) }),
        made("p", { class: "prompt", text: group.query.question ?? "(the question is not recorded)" }),
        truth === undefined || truth === null ? null : made("p", { class: "small", text: "truth: " + (typeof truth === "string" ? truth : JSON.stringify(truth)) }),
        made("p", { class: "id", text: group.query_id + (group.place ? ", " + group.place : "") }))),
      group.before ? made("div", { class: "sides" }, side(group.sides?.[0] ?? found.sides?.[0] ?? "before", group.before), side(group.sides?.[1] ?? found.sides?.[1] ?? "after", group.answers))
        : answers(group.answers));
  };
  let page = 0;
  const explained = () => {
    const colour = colours[at("colour").value];
    one("colours").replaceChildren(...(colour ? [made("li", { text: colour.said + ":" }),
      ...colour.scale.map(value => made("li", {}, tinted(colour, value, { text: String(value) })))] : []));
  };
  const load = async to => {
    page = to;
    const asked = { page };
    for (const key of ["file", "filter", "sort", "task", "words", "colour"]) asked[key] = kept[key] = at(key).value;
    const found = await from(asked);
    if (found === null) { one("keys").textContent = "this file is not there any more"; return; }
    if (found.file !== undefined) at("file").value = kept.file = found.file;
    at("task").replaceChildren(new Option("all", ""), ...found.tasks.map(name => new Option(name, name, false, name === asked.task)));
    one("keys").textContent = found.fitting + " of " + found.all + " groups" + (found.note ? ". " + found.note : "");
    one("place").textContent = found.pages ? (page + 1) + " of " + found.pages : "none";
    one("back").disabled = page <= 0;
    one("on").disabled = page >= found.pages - 1;
    explained();
    one("groups").replaceChildren(...found.groups.map(group => shown(group, found)));
  };
  const begin = async (files, first) => {
    const named = facts => new Option(facts.label ?? facts.file, facts.file, false, facts.file === kept.file);
    at("file").replaceChildren(...files.map(named));
    if (kept.task) at("task").append(new Option(kept.task, kept.task, false, true));
    for (const key of ["filter", "sort", "words", "colour"]) if (kept[key]) at(key).value = kept[key];
    for (const key of ["file", "filter", "sort", "task", "words"]) at(key).addEventListener("change", () => load(0));
    at("colour").addEventListener("change", () => load(page));
    one("back").addEventListener("click", () => { one("chooser").scrollIntoView(); load(page - 1); });
    one("on").addEventListener("click", () => { one("chooser").scrollIntoView(); load(page + 1); });
    if (files.length) await load(first);
    else one("keys").textContent = "no rollouts are on disk yet";
  };
  return begin;
};
