"""The GraphQL documents that sweepkit sends: its own, of fields that the wandb client 0.31 asks for too.

So the real servers accept them as they stand (see `internal_api.py`, `apis/public` and `core/api/graphql` there).
"""

from __future__ import annotations

HISTORY_PAGE = 1000  # steps a page; a step is at most one row, so a page with as many samples is never thinned out
PAGES_A_REQUEST = 10
RUNS_A_REQUEST = 20  # whose values of one key are asked for together
VALUES = 2000  # rows of each of them; who has more is read by the pages of its history

_RUN = "name displayName state config summaryMetrics createdAt heartbeatAt sweepName tags notes stopped"
_SWEEP = "id name displayName state config runCount runCountExpected createdAt"

VIEWER = "query Viewer { viewer { id entity username } }"
PROJECTS = """query Projects($entity: String, $cursor: String) {
  models(entityName: $entity, after: $cursor, first: 100) { pageInfo { endCursor hasNextPage } edges { node { name } } }
}"""
FIND_SWEEP = f"""query GetSweep($entity: String, $project: String, $name: String!) {{
  project(name: $project, entityName: $entity) {{ sweep(sweepName: $name) {{ {_SWEEP} }} }}
}}"""
UPSERT_SWEEP = """mutation UpsertSweep($id: ID, $config: String, $description: String, $displayName: String,
                                $state: String, $priors: JSONString, $entity: String, $project: String) {
  upsertSweep(input: {id: $id, config: $config, description: $description, displayName: $displayName, state: $state,
                      priorRunsFilters: $priors, entityName: $entity, projectName: $project}) {
    sweep { name project { name entity { name } } }
    configValidationWarnings
  }
}"""
# No client asks for these; W&B's own tests of its servers do (tests/system_tests/test_sweep in its repository).
PRIOR_RUNS = """query SweepPriorRuns($entity: String, $project: String, $name: String!) {
  project(name: $project, entityName: $entity) { sweep(sweepName: $name) { priorRuns { edges { node { name } } } } }
}"""
SWEEP_RUNS = f"""query SweepRuns($entity: String!, $project: String!, $filters: JSONString, $cursor: String) {{
  project(name: $project, entityName: $entity) {{
    runs(filters: $filters, after: $cursor, first: 100, order: "+created_at") {{
      pageInfo {{ endCursor hasNextPage }} edges {{ node {{ {_RUN} }} }}
    }}
  }}
}}"""
FIND_RUN = f"""query GetRun($entity: String!, $project: String!, $name: String!) {{
  project(name: $project, entityName: $entity) {{ run(name: $name) {{ {_RUN} }} }}
}}"""
SOME_RUNS = """query SomeRuns($entity: String!, $project: String!, $filters: JSONString) {
  project(name: $project, entityName: $entity) {
    runs(filters: $filters, first: 100, order: "-created_at") { edges { node { name displayName state } } }
  }
}"""
# Without useImprovedPagination a server older than 0.77 would take `after` for something else.
_LINES = "logLineCount logLines(%s) { edges { node { number line } } pageInfo { endCursor hasNextPage } }"
LOG_TAIL = f"""query LogTail($entity: String!, $project: String!, $name: String!, $last: Int!) {{
  project(name: $project, entityName: $entity) {{ run(name: $name) {{ {_LINES % "last: $last"} }} }}
}}"""
LOG_PAGE = f"""query LogPage($entity: String!, $project: String!, $name: String!, $after: String) {{
  project(name: $project, entityName: $entity) {{ run(name: $name) {{
    {_LINES % "first: 1000, after: $after, useImprovedPagination: true"}
  }} }}
}}"""
_OF_RUN = """query %s($entity: String, $project: String, $name: String!) {
  project(name: $project, entityName: $entity) { run(name: $name) { %s } }
}"""
STOPPED = _OF_RUN % ("RunStopped", "stopped")
RUN_ID = _OF_RUN % ("RunId", "id")
LAST_STEP = _OF_RUN % ("LastStep", "historyKeys")
LAST_BEAT = _OF_RUN % ("LastBeat", "heartbeatAt")
STOP_RUN = """mutation StopRun($id: ID!) { stopRun(input: {id: $id}) { success } }"""
AGENTS = """query SweepAgents($entity: String, $project: String, $name: String!) {
  project(name: $project, entityName: $entity) { sweep(sweepName: $name) {
    agents { edges { node { id name host state totalRuns createdAt heartbeatAt
      runs(first: 3, order: "-heartbeat_at") { edges { node { name state } } } } } }
  } }
}"""
CONTROLLER = """query SweepController($entity: String, $project: String, $name: String!) {
  project(name: $project, entityName: $entity) { sweep(sweepName: $name) { controllerRunName } }
}"""
CREATE_AGENT = """mutation CreateAgent($host: String!, $project: String, $entity: String, $sweep: String!) {
  createAgent(input: {host: $host, projectName: $project, entityName: $entity, sweep: $sweep}) { agent { id } }
}"""
HEARTBEAT = """mutation Heartbeat($id: ID!, $metrics: JSONString, $runState: JSONString) {
  agentHeartbeat(input: {id: $id, metrics: $metrics, runState: $runState}) { agent { id } commands }
}"""
ARTIFACTS = """query RunArtifacts($entity: String!, $project: String!, $name: String!, $cursor: String) {
  project(name: $project, entityName: $entity) { run(name: $name) { outputArtifacts(after: $cursor, first: 100) {
    pageInfo { endCursor hasNextPage }
    edges { node { id versionIndex digest size artifactSequence { name } artifactType { name }
                   aliases { alias artifactCollection { name } } } }
  } } }
}"""

_FILES = "pageInfo { endCursor hasNextPage } edges { node { name sizeBytes md5 directUrl } }"
RUN_FILES = f"""query RunFiles($entity: String!, $project: String!, $name: String!, $cursor: String) {{
  project(name: $project, entityName: $entity) {{ run(name: $name) {{
    files(after: $cursor, first: 100) {{ {_FILES} }}
  }} }}
}}"""
ARTIFACT_FILES = f"""query ArtifactFiles($entity: String!, $project: String!, $collection: String!, $version: String!,
                                      $cursor: String) {{
  project(name: $project, entityName: $entity) {{ artifactCollection(name: $collection) {{
    artifactMembership(aliasName: $version) {{ files(after: $cursor, first: 100) {{ {_FILES} }} }}
  }} }}
}}"""


def history_document(starts: list[int]) -> str:
    """Several pages of a run's history in one request, each under its own name. W&B's ``maxStep`` is exclusive."""
    pages = (f"p{s}: history(minStep: {s}, maxStep: {s + HISTORY_PAGE}, samples: {HISTORY_PAGE})" for s in starts)
    return f"""query HistoryPages($entity: String!, $project: String!, $name: String!) {{
  project(name: $project, entityName: $entity) {{ run(name: $name) {{ {" ".join(pages)} }} }}
}}"""


def values_document(number: int) -> str:
    """The rows of ``number`` runs that hold certain keys, each run under its own name: ``r0``, named by ``$r0``."""
    names = "".join(f", $r{n}: String!" for n in range(number))
    runs = " ".join(f"r{n}: run(name: $r{n}) {{ sampledHistory(specs: $specs) }}" for n in range(number))
    return f"""query RunValues($entity: String!, $project: String!, $specs: [JSONString!]!{names}) {{
  project(name: $project, entityName: $entity) {{ {runs} }}
}}"""
