# %%
settings = replace(PRESETS[preset], **overrides)
if "NBGRADER_EXECUTION" in os.environ:  # autograding is about the checks: small networks, a few steps
    settings = replace(settings, steps=2, batch_size=8, width=4)
print(settings)

# %% include: device
