"""The console and `kubectl dormouse`: the fleet for people, with nobody's rights but their own.

Neither holds any right in the cluster. The console sends each request to the API server with the token of who asks;
the plugin calls their own `kubectl`. What they may see and change is decided there, by RBAC, and nowhere here.
"""
