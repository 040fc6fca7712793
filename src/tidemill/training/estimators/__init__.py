"""The estimators that Tidemill trains, exports and serves: one module for each family.

A module ends with ``ESTIMATORS``, the :class:`~tidemill.training.registry.EstimatorSpec` of each estimator of its
family; :func:`tidemill.training.registry.registry` collects them. So a new estimator is a new module here, or an entry
in one, and a scorer in :mod:`tidemill.scoring` if none of those there can score it.

The other modules are shared: :mod:`checks` and :mod:`rules` find faults of a pipeline file's models, :mod:`search`
trains models that search rows.
"""
