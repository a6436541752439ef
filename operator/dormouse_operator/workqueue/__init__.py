"""The work queue, in client-go's words: typed `keys` say what is to be done, a `result` what became of it.

The reconcile loop adds and never waits, so that one slow pod or one slow API server delays nobody else. There are
two queues: one for calls to pods (`reconciler.py`), one for writes to the API server (`reporting/recorder.py`).
"""
