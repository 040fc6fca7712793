"""The estimators that Tidemill trains, exports and serves."""
