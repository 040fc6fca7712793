package tidemill;

import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.util.function.Supplier;
import org.apache.spark.TaskContext;
import org.apache.spark.sql.internal.SQLConf;

/** The settings of Spark SQL for the threads of tasks: a copy for each, so that no thread waits for another's look-up. */
public final class TaskSettings implements Supplier {
  private SQLConf settings;

  /** A thread's settings; null outside a task, where Spark then finds the settings itself. */
  public Object get() {
    return TaskContext.get() == null ? null : settings.clone();
  }

  /** Have all threads that run tasks from now on use a copy of these settings. */
  public void install(SQLConf settings) throws Exception {
    this.settings = settings;
    Class type = Class.forName("org.apache.spark.sql.internal.SQLConf$");
    Method current = type.getDeclaredMethod("existingConf", new Class[0]);
    current.setAccessible(true);
    current.invoke(type.getField("MODULE$").get(null), new Object[0]); // a lazy field, so that it stays as it is set now
    Field field = type.getDeclaredField("existingConf");
    field.setAccessible(true);
    field.set(null, ThreadLocal.withInitial(this));
  }
}
