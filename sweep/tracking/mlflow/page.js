// Runs ahead of the scripts of MLflow 3.17's page; `sweep/tracking/mlflow/server.py` puts SWEEP, its values, in front of it.

// The page keeps its state in the browser's local storage. Where nothing was kept yet, it finds our defaults there.
const kept = Storage.prototype.getItem;
Storage.prototype.getItem = function (key) {
  return kept.call(this, key) ?? ours(String(key)) ?? null;
};

function ours(key) {
  const found = SWEEP.defaults.find(([pattern]) => new RegExp(pattern).test(key));
  if (found) return found[1];
  const experiment = key.match(/-ExperimentPage-\["(\d+)"\]-ReactComponentState$/);
  const run = key.match(/-RunPage-(\w+)-model-chartUIState$/);
  try {
    return experiment ? table(experiment[1]) : run ? charts(run[1]) : null;
  } catch {
    return null; // it is not ours, or was deleted
  }
}

// The view of the trials' table that the mirror left as a tag of the experiment.
function table(experiment) {
  const found = answer("experiments/get?experiment_id=" + experiment).experiment;
  return found.tags.find((tag) => tag.key === SWEEP.view).value;
}

// The charts of a run's curves, of those that it has: a chart of nothing would be drawn as one.
function charts(run) {
  const { metrics, params } = answer("runs/get?run_id=" + run).run.data;
  const there = metrics.map((metric) => metric.key);
  const drawn = SWEEP.charts.compareRunCharts.filter((chart) => there.includes(chart.metricKey));
  const best = drawn.find((chart) => chart.metricKey === SWEEP.best);
  if (best && params.some((param) => param.key === "objective" && param.value.endsWith("loss"))) best.scaleType = "log";
  return drawn.length ? JSON.stringify({ ...SWEEP.charts, compareRunCharts: drawn }) : null;
}

// The page wants its state at once, so this waits for the server; once a page, which then keeps the state itself.
function answer(question) {
  const request = new XMLHttpRequest();
  request.open("GET", "ajax-api/2.0/mlflow/" + question, false);
  request.send();
  return JSON.parse(request.responseText);
}

// The page asks for runs and shows the tags that it is told of: both pass through here.
const TAGGED = /mlflow\/(runs|experiments|registered-models)\/(get|search)|graphql/;
const send = window.fetch;
window.fetch = async function (address, options) {
  const place = String(address?.url ?? address);
  const isSearch = place.includes("/mlflow/runs/search");
  const response = await send.call(this, address, isSearch ? { ...options, body: asked(options.body) } : options);
  return response.ok && TAGGED.test(place) ? withoutInternal(response) : response;
};

// A search for runs, of more at once than the page's 100; and of a run's children, of which the page shows ten, in the
// order in which they were begun: the trials, then the runs of the confirmation.
function asked(body) {
  const question = JSON.parse(body);
  if (question.order_by?.[0] === "attributes.start_time DESC" && question.max_results === 10)
    question.order_by = ["attributes.start_time ASC"];
  if (question.max_results === 100) question.max_results = SWEEP.runs;
  return JSON.stringify(question);
}

async function withoutInternal(response) {
  const isShown = (item) => !(typeof item?.key === "string" && item.key.startsWith(SWEEP.internal));
  const kept = JSON.parse(await response.text(), (key, value) =>
    key === "tags" && Array.isArray(value) ? value.filter(isShown) : value,
  );
  return new Response(JSON.stringify(kept), { status: response.status, headers: response.headers });
}

// MLflow writes a shared view's filter and order into the address and then, finding them there after a reload or a
// step back, ignores the view.
function keepSharedView() {
  const [path, query] = location.hash.split("?");
  const asked = new URLSearchParams(query);
  if (!asked.has("viewStateShareKey")) return;
  for (const facet of SWEEP.facets) asked.delete(facet);
  history.replaceState(history.state, "", path + "?" + asked);
}
keepSharedView();
addEventListener("popstate", keepSharedView);

// The first page tells of tracing and offers a demonstration with data of its own.
if (["", "#", "#/"].includes(location.hash)) history.replaceState(history.state, "", "#/experiments");
